package cloud

import (
	"net/http"
	"strings"
	"time"

	"github.com/aws/smithy-go/encoding/cbor"
)

// rpcCBOR is Smithy's RPC v2 protocol, which the SDKs speak with CloudWatch. Like
// the service it also takes the JSON protocol, from whoever has no CBOR.
type rpcCBOR struct{}

func (rpcCBOR) isJSON(k *call) bool { return k.HTTP.Header.Get("Smithy-Protocol") == "" }

func (p rpcCBOR) decode(k *call) (string, map[string]any, error) {
	if p.isJSON(k) {
		return json11{}.decode(k)
	}
	_, op, ok := strings.Cut(k.HTTP.URL.Path, "/operation/")
	if !ok || k.HTTP.Header.Get("Smithy-Protocol") != "rpc-v2-cbor" {
		return "", nil, fail(400, "UnknownOperationException", "the path %q names no operation", k.HTTP.URL.Path)
	}
	params := map[string]any{}
	if len(k.body) > 0 {
		v, err := cbor.Decode(k.body)
		if err != nil {
			return "", nil, fail(400, "SerializationException", "%v", err)
		}
		m, isMap := fromCBOR(v).(map[string]any)
		if !isMap {
			return "", nil, fail(400, "SerializationException", "the body is no map")
		}
		params = m
	}
	return op, params, nil
}

func (p rpcCBOR) reply(w http.ResponseWriter, k *call, r reply) {
	if p.isJSON(k) {
		r.body = inSeconds(r.body)
		json11{}.reply(w, k, r)
		return
	}
	body, _ := r.body.(map[string]any)
	p.write(w, k, 200, body)
}

func (p rpcCBOR) fail(w http.ResponseWriter, k *call, e *apiError) {
	if p.isJSON(k) {
		json11{}.fail(w, k, e)
		return
	}
	w.Header().Set("x-amzn-query-error", e.code+";Sender")
	p.write(w, k, e.status, map[string]any{"__type": e.code, "message": e.message})
}

func (rpcCBOR) write(w http.ResponseWriter, k *call, status int, body map[string]any) {
	w.Header().Set("Content-Type", "application/cbor")
	w.Header().Set("Smithy-Protocol", "rpc-v2-cbor")
	w.Header().Set("x-amzn-RequestId", k.RequestID)
	w.WriteHeader(status)
	if body == nil {
		body = map[string]any{}
	}
	_, _ = w.Write(cbor.Encode(toCBOR(body))) // the client may be gone; nothing to do then
}

// fromCBOR gives a value the types that JSON has.
func fromCBOR(v cbor.Value) any {
	switch v := v.(type) {
	case cbor.Map:
		m := map[string]any{}
		for name, x := range v {
			m[name] = fromCBOR(x)
		}
		return m
	case cbor.List:
		list := make([]any, len(v))
		for i := range v {
			list[i] = fromCBOR(v[i])
		}
		return list
	case cbor.String:
		return string(v)
	case cbor.Bool:
		return bool(v)
	case cbor.Uint:
		return float64(v)
	case cbor.NegInt:
		return -1 - float64(v)
	case cbor.Float32:
		return float64(v)
	case cbor.Float64:
		return float64(v)
	case *cbor.Tag:
		return fromCBOR(v.Value)
	}
	return nil
}

// seconds is how both protocols write a time.
func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// inSeconds is a reply with its times as JSON has them.
func inSeconds(v any) any {
	switch v := v.(type) {
	case map[string]any:
		m := map[string]any{}
		for name, x := range v {
			m[name] = inSeconds(x)
		}
		return m
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = inSeconds(v[i])
		}
		return list
	case time.Time:
		return seconds(v)
	}
	return v
}

// toCBOR takes what the sandbox's replies are made of.
func toCBOR(v any) cbor.Value {
	switch v := v.(type) {
	case map[string]any:
		m := cbor.Map{}
		for name, x := range v {
			m[name] = toCBOR(x)
		}
		return m
	case []any:
		list := make(cbor.List, len(v))
		for i := range v {
			list[i] = toCBOR(v[i])
		}
		return list
	case string:
		return cbor.String(v)
	case bool:
		return cbor.Bool(v)
	case float64:
		return cbor.Float64(v)
	case int:
		if v < 0 {
			return cbor.NegInt(uint64(-int64(v)))
		}
		return cbor.Uint(v)
	case time.Time:
		return &cbor.Tag{ID: 1, Value: cbor.Float64(seconds(v))}
	}
	return &cbor.Nil{}
}
