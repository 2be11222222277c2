package cloud

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
)

// Whatever a document says, a record can hold it, and what is given back reads as
// what was put.
func FuzzXMLDocument(f *testing.F) {
	f.Add([]byte(`<LifecycleConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Rule><ID>a b</ID><Filter></Filter></Rule><Rule><Expiration><Days>1</Days></Expiration></Rule></LifecycleConfiguration>`))
	f.Add([]byte(`<a><xmlns><b/></xmlns><b xmlns="">true</b></a>`))
	f.Fuzz(func(t *testing.T, body []byte) {
		name, doc, err := xmlDocument(body)
		if err != nil {
			return
		}
		if _, err := json.Marshal(doc); err != nil {
			t.Fatalf("not representable in a record: %v", err)
		}
		if checkPublicAccess(name, doc) != nil && checkLifecycle(name, doc) != nil {
			return
		}
		var out bytes.Buffer
		for _, root := range settingElements(map[string]any{name: doc}) {
			root.write(&out)
		}
		if again, _, err := xmlDocument(out.Bytes()); err != nil || again != name {
			t.Errorf("given back as %s: %v", out.Bytes(), err)
		}
	})
}

func TestASettingIsGivenBackAsItWasPut(t *testing.T) {
	put := []byte(`<LifecycleConfiguration xmlns="` + s3Namespace + `"><Rule><ID>a &amp; b</ID><Status>Disabled</Status><Filter><Prefix>x</Prefix></Filter><Expiration><Days>1</Days></Expiration></Rule><Rule><Status>Enabled</Status></Rule></LifecycleConfiguration>`)
	name, doc, err := xmlDocument(put)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for _, root := range settingElements(map[string]any{name: doc}) {
		root.write(&out)
	}
	if _, again, err := xmlDocument(out.Bytes()); err != nil || !reflect.DeepEqual(again, doc) {
		t.Errorf("put  %v\ngiven back %v (%v)", doc, again, err)
	}
}
