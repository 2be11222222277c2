package cloud

import (
	"bytes"
	"encoding/json"
	"net/http/httptest"
	"reflect"
	"testing"

	"github.com/aws/smithy-go/encoding/cbor"
)

// What the sandbox says in CBOR is what it hears in it.
func TestCBORSaysWhatJSONSays(t *testing.T) {
	want := map[string]any{"a": []any{"x", true, nil, 1.5, map[string]any{"b": []any{}}}, "c": "é"}
	v, err := cbor.Decode(cbor.Encode(toCBOR(want)))
	if err != nil {
		t.Fatal(err)
	}
	if got := fromCBOR(v); !reflect.DeepEqual(got, any(want)) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func FuzzDecodeCBOR(f *testing.F) {
	f.Add("/service/GraniteServiceVersion20100801/operation/DescribeAlarms", cbor.Encode(cbor.Map{"AlarmNames": cbor.List{cbor.String("a")}}))
	f.Add("/", []byte{0xbf, 0x61, 0x61, 0x9f})
	f.Add("/operation/X", []byte{0xc1, 0xfb})
	f.Add("/operation/X", bytes.Repeat([]byte{0x81}, 3000))
	f.Fuzz(func(t *testing.T, path string, body []byte) {
		r := httptest.NewRequest("POST", "/", nil)
		r.URL.Path = path
		r.Header.Set("Smithy-Protocol", "rpc-v2-cbor")
		k := &call{Request: Request{HTTP: r}, body: body}
		_, params, err := rpcCBOR{}.decode(k)
		if err != nil {
			return
		}
		if params == nil {
			t.Error("neither parameters nor an error")
		}
		if _, err := json.Marshal(lowerNames(params)); err != nil && !bytes.ContainsAny(body, "\xf9\xfa\xfb") { // NaN has no JSON
			t.Errorf("not representable in a record: %v", err)
		}
	})
}
