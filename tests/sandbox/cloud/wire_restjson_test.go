package cloud

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
)

var someRoutes = restJSON{routes: []jsonRoute{
	{"GET", "/things/special", "GetSpecial"},
	{"GET", "/things/{thingName}", "GetThing"},
	{"GET", "/things/{thingName}/parts/{PartArn}", "GetPart"},
	{"GET", "/things/", "ListThings"},
	{"PATCH", "/views/{ViewArn+}", "UpdateView"},
	{"POST", "/views/get", "GetViews"},
}}

func TestAPathNamesItsOperation(t *testing.T) {
	type labels = map[string]string
	for _, tc := range []struct {
		method, path, op string
		labels           labels
	}{
		{"GET", "/things/special", "GetSpecial", labels{}},
		{"GET", "/things", "ListThings", labels{}},
		{"GET", "/things/", "ListThings", labels{}},
		{"GET", "/things/a", "GetThing", labels{"thingName": "a"}},
		{"GET", "/things/a%20b%2Fc", "GetThing", labels{"thingName": "a b/c"}},
		{"GET", "/things/a/parts/arn%3Aaws%3Ax%3A%3A1%3Apart%2Fp", "GetPart", labels{"thingName": "a", "PartArn": "arn:aws:x::1:part/p"}},
		{"GET", "/things/a/parts/arn:aws:x::1:part%2Fp", "GetPart", labels{"thingName": "a", "PartArn": "arn:aws:x::1:part/p"}},
		{"PATCH", "/views/arn:aws:x::1:view/custom/v", "UpdateView", labels{"ViewArn": "arn:aws:x::1:view/custom/v"}},
		{"PATCH", "/views/arn%3Aaws%3Ax%3A%3A1%3Aview/custom%2Fv", "UpdateView", labels{"ViewArn": "arn:aws:x::1:view/custom/v"}},
		{"POST", "/views/get", "GetViews", labels{}},
		{"POST", "/views/get/more", "", nil},
		{"PATCH", "/views/", "", nil},
		{"GET", "/things//parts/p", "", nil},
		{"GET", "/things/a/parts", "", nil},
		{"DELETE", "/things/a", "", nil},
		{"GET", "", "", nil},
		{"GET", "/things/%zz", "", nil},
	} {
		op, got := someRoutes.route(tc.method, tc.path)
		if op != tc.op || !maps.Equal(got, tc.labels) {
			t.Errorf("%s %s: %q %v, want %q %v", tc.method, tc.path, op, got, tc.op, tc.labels)
		}
	}
}

func TestParametersComeFromPathQueryAndBody(t *testing.T) {
	decode := func(method, target, body string) (string, map[string]any, error) {
		r := httptest.NewRequest(method, target, nil)
		return someRoutes.decode(&call{Request: Request{HTTP: r, Service: "things"}, body: []byte(body)})
	}
	op, params, err := decode("PATCH", "/views/arn:x?maxResults=7&nextToken=7&key=a&key=b", `{"ViewArn":"another","Name":"n","deep":{"x":1}}`)
	if err != nil || op != "UpdateView" || params["ViewArn"] != "arn:x" || params["Name"] != "n" || params["maxResults"] != 7.0 || params["nextToken"] != "7" {
		t.Errorf("%q %v %v", op, params, err)
	}
	if keys, _ := params["key"].([]any); len(keys) != 2 {
		t.Errorf("key %v", params["key"])
	}
	for body, want := range map[string]string{
		"[]": "SerializationException", `"x"`: "SerializationException", "{": "SerializationException", "null": "SerializationException", " ": "", "{}": "",
	} {
		_, _, err := decode("POST", "/views/get", body)
		if got := asAPIError(err); (got == nil) != (want == "") || got != nil && got.code != want {
			t.Errorf("body %q: %v, want %q", body, err, want)
		}
	}
	if _, _, err := decode("PUT", "/views/get", ""); asAPIError(err).code != "NotImplemented" {
		t.Errorf("an unknown route: %v", err)
	}
}

func FuzzRESTJSON(f *testing.F) {
	f.Add("GET", "/things/a%2Fb/parts/arn%3Ax", "maxResults=1&x", `{"a":[1,{"b":null}]}`)
	f.Add("PATCH", "/views/", "%", "{")
	f.Add("POST", "//views//get//", "&&=", "null")
	f.Fuzz(func(t *testing.T, method, path, query, body string) {
		k := &call{Request: Request{HTTP: &http.Request{Method: method, URL: &url.URL{Path: path, RawPath: path, RawQuery: query}}}, body: []byte(body)}
		op, params, err := someRoutes.decode(k)
		if (op == "") != (err != nil) || err == nil && params == nil {
			t.Fatalf("%q %v %v", op, params, err)
		}
		if err != nil {
			return
		}
		_, labels := someRoutes.route(method, k.HTTP.URL.EscapedPath())
		for label, value := range labels {
			if value == "" || params[label] != value {
				t.Fatalf("%s %s: %s is %q, %v", method, path, label, value, params[label])
			}
		}
	})
}
