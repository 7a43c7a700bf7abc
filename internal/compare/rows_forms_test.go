package compare

// nonBlockingRows ask for the answer later. The device says op= with a POST (TS-0008, 6.3.2), the direct client keeps the
// method (TS-0009).
func nonBlockingRows() []row {
	complete := func(name, of string) row {
		r := got(name+", <request>", "{"+of+".uri}")
		r.until = `"rs":1`
		return r
	}
	return []row{
		got("nonBlockingRequestSynch retrieve", "{ae}/d/kitchen", "rt=1").is(1001).kept("req1"),
		complete("nonBlockingRequestSynch retrieve", "req1"),
		made("nonBlockingRequestSynch create", cnt, "{ae}/d",
			`{"m2m:cnt":{"rn":"later"}}`, "rt=1").is(1001).kept("req2"),
		complete("nonBlockingRequestSynch create", "req2"),
		changed("nonBlockingRequestSynch update", "{ae}/d/later",
			`{"m2m:cnt":{"mni":2}}`, "rt=1").is(1001).kept("req3"),
		complete("nonBlockingRequestSynch update", "req3"),
		removed("nonBlockingRequestSynch delete", "{ae}/d/later", "rt=1").is(1001).kept("req4"),
		complete("nonBlockingRequestSynch delete", "req4"),
		got("nonBlockingRequestSynch of nothing", "{ae}/d/nothing", "rt=1").is(4000),
		got("nonBlockingRequestSynch with rp", "{ae}/d/kitchen", "rt=1", "rp=60000").is(1001),
		got("nonBlockingRequestAsynch, no notification", "{ae}/d/kitchen", "rt=2").with("nu", "").is(1002).kept("req6"),
		complete("nonBlockingRequestAsynch, no notification", "req6"),
		made("nonBlockingRequestAsynch create", cin, "{ae}/d/kitchen",
			`{"m2m:cin":{"rn":"later","con":"1"}}`, "rt=2").with("nu", "").is(1002),
		got("blocking, said", "{ae}/d/kitchen", "rt=3"),
		got("flexBlocking retrieve", "{ae}/d/kitchen", "rt=4"),
		made("flexBlocking create", cin, "{ae}/d/kitchen", `{"m2m:cin":{"rn":"flex","con":"1"}}`, "rt=4"),
		changed("flexBlocking update", "{ae}/d/kitchen", `{"m2m:cnt":{"mni":20}}`, "rt=4"),
		removed("flexBlocking delete", "{ae}/d/kitchen/flex", "rt=4"),
		got("response type, unknown", "{ae}/d/kitchen", "rt=9").is(4000),
	}
}

// formatRows ask for serialisations and send them.
func formatRows() []row {
	accepting := func(name, media string) row {
		r := got("Accept "+name, "{ae}/d/kitchen/small")
		r.accept = media
		return r
	}
	sent := func(name, media, body string) row {
		r := made("Content-Type "+name, cin, "{ae}/d/kitchen", body)
		r.media = media
		return r
	}
	return []row{
		accepting("JSON", "application/json"),
		accepting("CBOR", "application/cbor"),
		accepting("vendor's JSON", "application/vnd.onem2m-res+json"),
		accepting("XML", "application/xml"),
		accepting("unknown", "application/x-nobody"),
		sent("CBOR", "application/cbor", "\xa1gm2m:cin\xa2brndcborccone12345"),
		sent("vendor's JSON", "application/vnd.onem2m-res+json", `{"m2m:cin":{"rn":"vendor","con":"1"}}`),
		sent("text", "text/plain", `hello`).is(4000),
		sent("SenML", "application/senml+json", `[{"n":"t","v":1}]`).is(0),
		sent("JSON, but it isn't", "application/json", `{"m2m:cin":{"con":`).is(4000),
		sent("JSON with a name twice", "application/json", `{"m2m:cin":{"rn":"twice","con":"1","con":"2"}}`),
		sent("CBOR, but it isn't", "application/cbor", "\xa1g").is(4000),
	}
}

// parameterRows carry every parameter that a request can have.
func parameterRows() []row {
	return []row{
		got("rvi 2a", "{ae}/d/kitchen").release("2a"),
		got("rvi 4", "{ae}/d/kitchen").release("4"),
		got("rvi 5", "{ae}/d/kitchen").release("5"),
		got("ot", "{ae}/d/kitchen").with("ot", past),
		got("vsi", "{ae}/d/kitchen").with("vsi", "maker=example"),
		got("ec", "{ae}/d/kitchen").with("ec", "2"),
		got("ec of the operator's", "{ae}/d/kitchen").with("ec", "100"),
		got("rqet, far", "{ae}/d/kitchen").with("rqet", moment2099),
		got("rqet, relative", "{ae}/d/kitchen").with("rqet", "60000"),
		got("rset, far", "{ae}/d/kitchen").with("rset", moment2099),
		got("rset, relative", "{ae}/d/kitchen", "rt=1").with("rset", "60000").is(1001),
		got("oet, past", "{ae}/d/kitchen").with("oet", past),
		got("gid", "{ae}/d/kitchen").with("gid", "group-request"),
		got("tokens", "{ae}/d/kitchen").with("tkns", "aGVhZA.cGF5bG9hZA.c2ln+dG9rZW4.dHdv.c2ln"),
		got("token identifiers", "{ae}/d/kitchen", "tids=t1+t2").is(4000),
		got("local token identifiers", "{ae}/d/kitchen", "ltids=l1").is(4000),
		got("role identifiers", "{ae}/d/kitchen", "rids=role1").is(4000),
		got("token request indicator", "{ae}/d/kitchen", "tqi=true").is(4000),
		got("semantic query indicator", "{ae}/d/kitchen", "sqi=false").is(4000),
		got("authorization relationship indicator", "{ae}/d/kitchen", "auri=true").is(4000),
		got("authorization signature", "{ae}/d/kitchen").with("aus", "c2lnbmF0dXJl"),
		got("oet, future", "{ae}/d/kitchen", "rt=1").with("oet", "20990101T000000").is(1001),
		got("every text parameter at once", "{ae}/d/kitchen").with("ot", past, "vsi", "v", "ec", "3",
			"gid", "g",
			"rqet", moment2099, "rset", moment2099),
		got("path with escapes", "{ae}/d/a b%ü").is(4004),
		got("da", "{ae}/d/kitchen", "da=true").is(4000),
	}
}

// release sets the Release Version Indicator.
func (r row) release(rvi string) row { r.rvi = rvi; return r }

func errorRows() []row {
	odd := func(r row, change func(*request)) row { change(&r.request); return r }
	return []row{
		got("not found", "{ae}/nothing").is(4004),
		removed("not found, delete", "{ae}/nothing").is(4004),
		changed("not found, update", "{ae}/nothing", `{"m2m:cnt":{"mni":1}}`).is(4004),
		made("not found, create", cnt, "{ae}/nothing", `{"m2m:cnt":{"rn":"x"}}`).is(4004),
		got("foreign CSE", "/id-nobody/cse/x").is(4004),
		got("no privilege", "{ae}/d").as("Cguest{side}").is(4103),
		made("no privilege, create", cnt, "{ae}/d", `{"m2m:cnt":{"rn":"x"}}`).as("Cguest{side}").is(4103),
		got("Originator of nobody", "{ae}/d").as("Cnobody{side}").is(4103),
		got("Originator that the device may not be", "{ae}/d").as("Sother{side}").is(4103),
		got("From is missing", "{ae}/d").as(absent).is(4000),
		odd(got("RQI is missing", "{ae}/d").is(4000), func(r *request) { r.rqi = absent }),
		got("RVI is missing", "{ae}/d").release(absent).is(4001),
		got("RVI of no release", "{ae}/d").release("9").is(4001),
		got("RVI of release 1", "{ae}/d").release("1").is(4001),
		got("rqet in the past", "{ae}/d").with("rqet", past).is(4008),
		got("rqet, no timestamp", "{ae}/d").with("rqet", "soon").is(4000),
		got("ot, no timestamp", "{ae}/d").with("ot", "now").is(4000),
		made("no body", cnt, "{ae}/d", ``).is(4000),
		made("empty object", cnt, "{ae}/d", `{}`).is(4000),
		made("not an object", cnt, "{ae}/d", `[1]`).is(0),
		made("two resources", cnt, "{ae}/d", `{"m2m:cnt":{},"m2m:cin":{"con":"1"}}`).is(4000),
		made("ty contradicts the body", cin, "{ae}/d", `{"m2m:cnt":{"rn":"x"}}`).is(4000),
		made("ty of no type", 999, "{ae}/d", `{"m2m:cnt":{"rn":"x"}}`).is(4000),
		made("child that can't be", cin, "{ae}", `{"m2m:cin":{"con":"x"}}`).is(4108),
		made("child of a leaf", cnt, "{ae}/d/kitchen/small", `{"m2m:cnt":{"rn":"x"}}`).is(4108),
		made("unknown attribute", cnt, "{ae}/d", `{"m2m:cnt":{"rn":"x","colour":"red"}}`).is(4000),
		made("read-only attribute", cnt, "{ae}/d", `{"m2m:cnt":{"rn":"x","ct":"20260101T000000"}}`).is(4000),
		made("wrong type of an attribute", cnt, "{ae}/d", `{"m2m:cnt":{"rn":"x","mni":"many"}}`).is(4000),
		made("name that can't be", cnt, "{ae}/d", `{"m2m:cnt":{"rn":"a/b"}}`).is(4000),
		made("expired from the start", cnt, "{ae}/d", `{"m2m:cnt":{"rn":"x","et":"`+past+`"}}`).is(4000),
		made("conflict", cnt, "{ae}/d", `{"m2m:cnt":{"rn":"kitchen"}}`).is(4105),
		made("filter criteria in a CREATE", cnt, "{ae}/d", `{"m2m:cnt":{"rn":"x"}}`, "lbl=wet"),
		changed("update without a body", "{ae}/d/kitchen", ``).is(4000),
		changed("update of another type", "{ae}/d/kitchen", `{"m2m:cin":{"con":"x"}}`).is(4102),
		changed("update of the latest", "{ae}/d/kitchen/la", `{"m2m:cin":{"con":"x"}}`).is(4005),
		removed("delete of the CSEBase", "{cse}").is(4005),
		removed("delete of the CSEBase by its administrator", "{cse}").as("CAdmin").is(4005),
		odd(row{name: "notify to a container", want: 4000}, func(r *request) {
			*r = request{op: notify, to: "{ae}/d/kitchen", body: `{"m2m:sgn":{"sur":"x"}}`}
		}),
		odd(row{name: "notify to an AE", want: 4000}, func(r *request) {
			*r = request{op: notify, to: "{ae}", body: `{"m2m:sgn":{"sur":"{ae}/d/sub","nev":{"rep":{"m2m:cnt":{}},"net":1}}}`}
		}),
		made("target not subscribable", sub, "{ae}/d/sub", `{"m2m:sub":{"rn":"s","nu":["{me}"],"enc":{"net":[1]}}}`).is(5203),
		made("target not subscribable, an instance", sub, "{ae}/d/kitchen/small",
			`{"m2m:sub":{"rn":"s","nu":["{me}"],"enc":{"net":[1]}}}`).is(5203),
		made("blocking subscription", sub, "{ae}/d/bath/shelf", `{"m2m:sub":{"rn":"b1","nu":["{me}"],"enc":{"net":[7]}}}`),
		made("blocking subscription, second", sub, "{ae}/d/bath/shelf",
			`{"m2m:sub":{"rn":"b2","nu":["{me}"],"enc":{"net":[7]}}}`).is(4000),
		made("group without members", grp, "{ae}", `{"m2m:grp":{"rn":"none","mt":3,"mnm":2,"mid":[]}}`),
		got("fan-out to no members", "{ae}/none/fopt"),
		made("group create, member that is not there", grp, "{ae}",
			`{"m2m:grp":{"rn":"gone","mt":3,"mnm":2,"mid":["{ae}/nothing"]}}`).is(4004),
		made("AE create, that hears", ae, "{cse}",
			`{"m2m:ae":{"rn":"{side}-h","api":"Nside","rr":true,"srv":["3"],"poa":["{ears}"]}}`).as("Chear{side}"),
		odd(row{name: "notify to who hears", want: 2000}, func(r *request) {
			*r = request{op: notify, to: "{cse}/{side}-h", from: "Chear{side}", body: `{"m2m:sgn":{"sur":"cse-in/x","nev":{"rep":{"m2m:cnt":{"lbl":["a"]}},"net":1}}}`}
		}),
		odd(row{name: "notify to who hears, non-blocking", want: 1002}, func(r *request) {
			*r = request{op: notify, to: "{cse}/{side}-h", from: "Chear{side}", query: []string{"rt=2"}, more: [][2]string{{"nu", ""}},
				body: `{"m2m:sgn":{"sur":"cse-in/x","nev":{"rep":{"m2m:cnt":{"lbl":["a"]}},"net":1}}}`}
		}),
		removed("AE delete, that hears", "{cse}/{side}-h").as("Chear{side}"),
		odd(row{name: "notify without content", want: 4000}, func(r *request) { *r = request{op: notify, to: "{ae}"} }),
	}
}
