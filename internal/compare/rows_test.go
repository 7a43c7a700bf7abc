package compare

import "slices"

// rows are the whole table, in order: later rows use what earlier ones made.
func rows() []row {
	return slices.Concat(entityRows(), policyRows(), containerRows(), flexContainerRows(), groupRows(), subscriptionRows(),
		timeSeriesRows(), nodeRows(), managementRows(), treeRows(), timeFilterRows(), filterRows(), resultContentRows(),
		partialRows(), nonBlockingRows(), formatRows(), parameterRows(), errorRows(), endRows())
}

// The resource types (TS-0004, 6.3.4.2.1).
const (
	acp = 1
	ae  = 2
	cnt = 3
	cin = 4
	grp = 9
	mgo = 13 // every management object
	nod = 14
	sub = 23
	fcn = 28
	ts  = 29
	tsi = 30
)

// made, got, changed and removed are rows that succeed by default.
func made(name string, ty int, to, body string, query ...string) row {
	return row{name: name, want: 2001, request: request{op: create, ty: ty, to: to, body: body, query: query}}
}

func got(name, to string, query ...string) row {
	return row{name: name, want: 2000, request: request{op: retrieve, to: to, query: query}}
}

func changed(name, to, body string, query ...string) row {
	return row{name: name, want: 2004, request: request{op: update, to: to, body: body, query: query}}
}

func removed(name, to string, query ...string) row {
	return row{name: name, want: 2002, request: request{op: remove, to: to, query: query}}
}

// is sets another ResponseStatusCode than that of success.
func (r row) is(rsc int) row { r.want = rsc; return r }

// as sets another Originator than the twin itself.
func (r row) as(from string) row { r.from = from; return r }

// kept names the answer for later rows.
func (r row) kept(name string) row { r.keep = name; return r }

// with adds parameters by their short names: name, value, name, value.
func (r row) with(pairs ...string) row {
	for pair := range slices.Chunk(pairs, 2) {
		r.more = append(r.more, [2]string{pair[0], pair[1]})
	}
	return r
}

func entityRows() []row {
	return []row{
		made("AE create", ae, "{cse}", `{"m2m:ae":{"rn":"{side}","api":"Nside","rr":true,"srv":["3","4"],"lbl":["first"]}}`).kept("ae"),
		got("AE retrieve", "{ae}"),
		got("AE retrieve, SP-relative", "/id-in/{ae}"),
		got("AE retrieve, absolute", "//acme.example.com/id-in/{ae}"),
		got("AE retrieve, foreign absolute", "//other.example.org/id-in/{ae}").is(4004),
		got("AE retrieve, unstructured", "{ae.ri}"),
		got("AE retrieve, dash for the CSEBase", "-/{side}"),
		got("CSEBase retrieve", "{cse}").as("CAdmin"),
		got("CSEBase retrieve by an AE", "{cse}"),
		changed("AE update", "{ae}", `{"m2m:ae":{"lbl":["second","third"],"apn":"the twins"}}`),
		changed("AE update, attribute deleted", "{ae}", `{"m2m:ae":{"apn":null}}`),
		changed("AE update of what can't be", "{ae}", `{"m2m:ae":{"api":"Nother"}}`).is(4000),
		made("AE create again", ae, "{cse}", `{"m2m:ae":{"rn":"{side}-2","api":"Nside","rr":true,"srv":["3"]}}`).is(4117),
		made("AE create, name taken", ae, "{cse}",
			`{"m2m:ae":{"rn":"{side}","api":"Nside","rr":true,"srv":["3"]}}`).as("Ctaken{side}").is(4105),
		made("AE create, AE-ID of the CSE's choice", ae, "{cse}",
			`{"m2m:ae":{"rn":"{side}-c","api":"Nside","rr":false,"srv":["3"]}}`).as("C").kept("chosen"),
		removed("AE delete", "{cse}/{side}-c").as("{chosen.aei}"),
		made("AE create, guest", ae, "{cse}", `{"m2m:ae":{"rn":"{side}-g","api":"Nside","rr":false,"srv":["3"]}}`).as("Cguest{side}"),
		made("AE create without api", ae, "{cse}",
			`{"m2m:ae":{"rn":"{side}-x","rr":false,"srv":["3"]}}`).as("Cxxxx{side}").is(4000),
	}
}

func policyRows() []row {
	return []row{
		made("ACP create", acp, "{ae}", `{"m2m:acp":{"rn":"acp1","pv":{"acr":[{"acor":["{me}"],"acop":63},{"acor":["Cguest{side}"],"acop":2}]},`+
			`"pvs":{"acr":[{"acor":["{me}"],"acop":63}]}}}`).kept("acp"),
		got("ACP retrieve", "{ae}/acp1"),
		changed("ACP update", "{ae}/acp1", `{"m2m:acp":{"lbl":["rules"]}}`),
		made("ACP create, bad pvs", acp, "{ae}", `{"m2m:acp":{"rn":"acp2","pv":{"acr":[]},"pvs":{"acr":[]}}}`).is(4000),
		made("container under the ACP", cnt, "{ae}", `{"m2m:cnt":{"rn":"shared","acpi":["{ae}/acp1"]}}`),
		got("ACP grants", "{ae}/shared").as("Cguest{side}"),
		changed("ACP refuses", "{ae}/shared", `{"m2m:cnt":{"mni":3}}`).as("Cguest{side}").is(4103),
		removed("ACP refuses a delete", "{ae}/shared").as("Cguest{side}").is(4103),
		removed("container delete under the ACP", "{ae}/shared"),
		removed("ACP delete", "{ae}/acp1"),
	}
}

func containerRows() []row {
	return []row{
		made("container create", cnt, "{ae}", `{"m2m:cnt":{"rn":"c1","mni":3,"lbl":["kitchen","wet"]}}`).kept("c1"),
		made("container create, name of the CSE's choice", cnt, "{ae}",
			`{"m2m:cnt":{"lbl":["unnamed"]}}`).kept("unnamed"),
		removed("container delete, named by the CSE", "{unnamed.ri}"),
		made("container create, name taken", cnt, "{ae}", `{"m2m:cnt":{"rn":"c1"}}`).is(4105),
		got("container retrieve", "{ae}/c1"),
		changed("container update", "{ae}/c1", `{"m2m:cnt":{"mni":4,"mbs":5000}}`),
		changed("container update, expiration", "{ae}/c1", `{"m2m:cnt":{"et":"`+moment2099+`"}}`),
		got("latest of an empty container", "{ae}/c1/la").is(4004),
		made("contentInstance create", cin, "{ae}/c1",
			`{"m2m:cin":{"con":"21.5 °C \u0007 \"quoted\" \\ /","cnf":"text/plain:0"}}`),
		made("contentInstance create, named", cin, "{ae}/c1", `{"m2m:cin":{"rn":"i2","con":"22"}}`),
		made("contentInstance create, object", cin, "{ae}/c1",
			`{"m2m:cin":{"rn":"i3","con":{"b":1.50,"a":[true,null,1e3]}}}`),
		made("contentInstance create, number", cin, "{ae}/c1", `{"m2m:cin":{"rn":"i4","con":23.50}}`),
		got("contentInstance retrieve", "{ae}/c1/i2"),
		got("contentInstance retrieve, latest", "{ae}/c1/la"),
		got("contentInstance retrieve, oldest", "{ae}/c1/ol"),
		changed("contentInstance update", "{ae}/c1/i2", `{"m2m:cin":{"con":"24"}}`).is(4005),
		removed("contentInstance delete", "{ae}/c1/i2"),
		removed("contentInstance delete, oldest", "{ae}/c1/ol"),
		got("container retrieve after its instances", "{ae}/c1"),
		made("contentInstance create without con", cin, "{ae}/c1", `{"m2m:cin":{"rn":"i9"}}`),
		removed("container delete", "{ae}/c1"),
		got("container retrieve after its delete", "{ae}/c1").is(4004),
	}
}

func flexContainerRows() []row {
	const definition = `"cnd":"org.onem2m.common.moduleclass.temperature"`
	return []row{
		made("flexContainer create", fcn, "{ae}", `{"cod:tempe":{"rn":"f1",`+definition+`,"curT0":21.50}}`),
		got("flexContainer retrieve", "{ae}/f1"),
		changed("flexContainer update", "{ae}/f1", `{"cod:tempe":{"curT0":-3e2,"tarTe":23}}`),
		changed("flexContainer update, wrong type", "{ae}/f1", `{"cod:tempe":{"curT0":"warm"}}`).is(4000),
		changed("flexContainer update, unknown attribute", "{ae}/f1", `{"cod:tempe":{"colour":1}}`).is(4000),
		made("flexContainer create, wrong definition", fcn, "{ae}",
			`{"cod:tempe":{"rn":"f2","cnd":"org.example.wrong","curT0":1}}`).is(4000),
		removed("flexContainer delete", "{ae}/f1"),
	}
}

func groupRows() []row {
	return []row{
		made("container for the group 1", cnt, "{ae}", `{"m2m:cnt":{"rn":"g1"}}`),
		made("container for the group 2", cnt, "{ae}", `{"m2m:cnt":{"rn":"g2"}}`),
		made("group create", grp, "{ae}", `{"m2m:grp":{"rn":"grp1","mt":3,"mnm":10,"mid":["{ae}/g1","{ae}/g2"]}}`),
		got("group retrieve", "{ae}/grp1"),
		changed("group update", "{ae}/grp1", `{"m2m:grp":{"mnm":5}}`),
		made("group create, member of another type left out", grp, "{ae}",
			`{"m2m:grp":{"rn":"grp2","mt":3,"csy":1,"mnm":10,"mid":["{ae}"]}}`),
		made("group create, member of another type", grp, "{ae}",
			`{"m2m:grp":{"rn":"grp4","mt":3,"csy":2,"mnm":10,"mid":["{ae}"]}}`).is(4110),
		made("group create, too many members", grp, "{ae}",
			`{"m2m:grp":{"rn":"grp3","mt":3,"mnm":1,"mid":["{ae}/g1","{ae}/g2"]}}`).is(6010),
		made("fan-out create", cin, "{ae}/grp1/fopt", `{"m2m:cin":{"con":"to all"}}`).is(2000),
		got("fan-out retrieve", "{ae}/grp1/fopt/la"),
		changed("fan-out update", "{ae}/grp1/fopt", `{"m2m:cnt":{"mni":7}}`).is(2000),
		removed("fan-out delete", "{ae}/grp1/fopt/la").is(2000),
		removed("group delete", "{ae}/grp1"),
		removed("container for the group 1, delete", "{ae}/g1"),
		removed("container for the group 2, delete", "{ae}/g2"),
	}
}

func subscriptionRows() []row {
	return []row{
		made("subscription create", sub, "{ae}", `{"m2m:sub":{"rn":"s1","nu":["{me}"],"enc":{"net":[1,3]},"nct":1}}`),
		got("subscription retrieve", "{ae}/s1"),
		changed("subscription update", "{ae}/s1", `{"m2m:sub":{"enc":{"net":[2]},"exc":5}}`),
		made("subscription create without nu", sub, "{ae}", `{"m2m:sub":{"rn":"s2","enc":{"net":[1]}}}`).is(4000),
		made("subscription create, nobody there", sub, "{ae}",
			`{"m2m:sub":{"rn":"s3","nu":["http://127.0.0.1:9/nobody"]}}`).is(5204),
		removed("subscription delete", "{ae}/s1"),
	}
}

func timeSeriesRows() []row {
	return []row{
		made("timeSeries create", ts, "{ae}", `{"m2m:ts":{"rn":"ts1","mni":10}}`),
		got("timeSeries retrieve", "{ae}/ts1"),
		changed("timeSeries update", "{ae}/ts1", `{"m2m:ts":{"mni":5}}`),
		made("timeSeriesInstance create", tsi, "{ae}/ts1",
			`{"m2m:tsi":{"rn":"t1","dgt":"20260101T000000,000000","con":"1"}}`),
		made("timeSeriesInstance create, second", tsi, "{ae}/ts1",
			`{"m2m:tsi":{"rn":"t2","dgt":"20260101T000001,000000","con":"2","snr":2}}`),
		made("timeSeriesInstance create, dgt taken", tsi, "{ae}/ts1",
			`{"m2m:tsi":{"rn":"t3","dgt":"20260101T000001,000000","con":"3"}}`).is(4105),
		made("timeSeriesInstance create without dgt", tsi, "{ae}/ts1", `{"m2m:tsi":{"rn":"t4","con":"4"}}`).is(4000),
		got("timeSeriesInstance retrieve", "{ae}/ts1/t1"),
		got("timeSeriesInstance retrieve, latest", "{ae}/ts1/la"),
		got("timeSeriesInstance retrieve, oldest", "{ae}/ts1/ol"),
		changed("timeSeriesInstance update", "{ae}/ts1/t1", `{"m2m:tsi":{"con":"5"}}`).is(4005),
		removed("timeSeriesInstance delete", "{ae}/ts1/t1"),
		removed("timeSeries delete", "{ae}/ts1"),
	}
}

// endRows end what the first rows began.
func endRows() []row {
	return []row{
		removed("AE delete by a stranger", "{ae}").as("Cguest{side}").is(4103),
		removed("AE delete with all below it", "{ae}"),
		got("AE retrieve after its delete", "{ae}").as("CAdmin").is(4004),
		removed("AE delete, guest", "{cse}/{side}-g").as("Cguest{side}"),
	}
}
