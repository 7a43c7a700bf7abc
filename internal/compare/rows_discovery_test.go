package compare

import "slices"

// treeRows make what the following rows look for: a container of containers and instances that differ in every attribute
// that a criterion asks for.
func treeRows() []row {
	return []row{
		made("tree: root", cnt, "{ae}", `{"m2m:cnt":{"rn":"d"}}`).kept("d"),
		made("tree: kitchen", cnt, "{ae}/d", `{"m2m:cnt":{"rn":"kitchen","lbl":["room","key:cold"],"mni":10}}`).kept("kitchen"),
		made("tree: bath", cnt, "{ae}/d", `{"m2m:cnt":{"rn":"bath","lbl":["room","wet"],"et":"`+moment2099+`"}}`).kept("bath"),
		made("tree: deep", cnt, "{ae}/d/bath", `{"m2m:cnt":{"rn":"shelf","lbl":["wet"]}}`),
		made("tree: instance of 2 bytes", cin, "{ae}/d/kitchen",
			`{"m2m:cin":{"rn":"small","con":"22","cnf":"text/plain:0","lbl":["leaf"]}}`).kept("small"),
		made("tree: instance of 20 bytes", cin, "{ae}/d/kitchen",
			`{"m2m:cin":{"rn":"large","con":"12345678901234567890","cnf":"application/json:0"}}`).kept("large"),
		made("tree: instance in the shelf", cin, "{ae}/d/bath/shelf", `{"m2m:cin":{"rn":"towel","con":"x"}}`),
		changed("tree: bath changed", "{ae}/d/bath", `{"m2m:cnt":{"lbl":["room","wet","warm"]}}`).kept("bath2"),
		made("tree: subscription", sub, "{ae}/d", `{"m2m:sub":{"rn":"sub","nu":["{me}"],"enc":{"net":[2]}}}`),
	}
}

// found is a discovery below the tree's root.
func found(name string, query ...string) row {
	return got("discovery: "+name, "{ae}/d", append([]string{"fu=1"}, query...)...)
}

// The moments that rows name. What they set with moment2099, later rows see again.
const (
	past       = "20200101T000000"
	future     = "20991231T000000"
	moment2099 = "20991231T235959"
)

func timeFilterRows() []row {
	return []row{
		found("everything"),
		found("crb, past", "crb="+past),
		found("crb, future", "crb="+future),
		found("crb, a moment between", "crb={bath.ct}"),
		found("cra, past", "cra="+past),
		found("cra, future", "cra="+future),
		found("cra, a moment between", "cra={bath.ct}"),
		found("crb and cra", "cra={kitchen.ct}", "crb={large.ct}"),
		found("ms, past", "ms="+past),
		found("ms, a moment between", "ms={large.lt}"),
		found("us, past", "us="+past),
		found("us, a moment between", "us={large.lt}"),
		found("exb, future", "exb="+future),
		found("exb, past", "exb="+past),
		found("exa, future", "exa="+future),
		found("exa, past", "exa="+past),
		found("crb, no timestamp", "crb=yesterday").is(4000),
	}
}

func filterRows() []row {
	return []row{
		found("sts", "sts=1"),
		found("stb", "stb=0"),
		found("sts and stb", "sts=3", "stb=0"),
		found("sza", "sza=10"),
		found("szb", "szb=10"),
		found("sza and szb", "sza=1", "szb=15"),
		found("lbl", "lbl=wet"),
		found("lbl, none", "lbl=dry"),
		found("lbl, two joined", "lbl=leaf+wet"),
		found("lbl, two parameters", "lbl=leaf", "lbl=wet"),
		found("lbl, key and value", "lbl=key:cold"),
		found("lbl, escapes", "lbl=a b%20ü&"),
		found("lbl, that reads as two", "lbl=a&c=d"),
		found("ty", "ty=4"),
		found("ty, two joined", "ty=4+23"),
		found("ty, two parameters", "ty=4", "ty=23"),
		found("ty, unknown", "ty=12345").is(4000),
		found("cty", "cty=text/plain:0"),
		found("cty, two", "cty=text/plain:0", "cty=application/json:0"),
		found("lim", "lim=2"),
		found("lim 0", "lim=0"),
		found("lim, no number", "lim=two").is(4000),
		found("lvl 1", "lvl=1"),
		found("lvl 2", "lvl=2"),
		found("ofst", "ofst=3"),
		found("ofst and lim", "ofst=2", "lim=2"),
		found("ofst past the end", "ofst=100"),
		found("fo AND", "fo=1", "lbl=wet", "ty=3"),
		found("fo OR", "fo=2", "lbl=leaf", "ty=23"),
		found("fo XOR", "fo=3", "lbl=wet", "ty=4"),
		found("fo, unknown", "fo=9", "ty=3").is(4000),
		found("arp", "arp=shelf", "ty=3").is(4004), // ACME wants the path below every match
		found("arp below every match", "arp=la", "ty=3", "lbl=room"),
		found("attribute match", "rn=kitchen"),
		found("attribute match, number", "mni=10"),
		found("attribute match, wildcard", "rn=*a*"),
		found("attribute match, creator", "cr={me}"),
		found("attribute match, none", "rn=cellar"),
		found("attribute of a child", "c.rn=small").is(4000),
		found("attribute of the parent", "p.rn=kitchen").is(4000),
		found("attribute, unknown", "colour=red").is(4000),
		found("smf", "smf=SELECT ?s WHERE { ?s ?p ?o }"),
		found("chty", "chty=4").is(4000), // ACME has none of these three
		found("pty", "pty=3", "ty=4").is(4000),
		found("cfs and cfq", "cfs=1", "cfq=con").is(4000),
		found("gq", "gmty=1", "gsf=1", "geom=[1.0,2.0]"),
		found("drt structured", "drt=1", "ty=3"),
		found("drt unstructured", "drt=2", "ty=3"),
		found("drt, unknown", "drt=3", "ty=3").is(4000),
		found("rcn 6", "rcn=6", "ty=3"),
		found("rcn 11", "rcn=11", "ty=3"),
		found("rcn 1 with fu", "rcn=1").is(4000),
		got("conditional retrieve, fulfilled", "{ae}/d/bath", "fu=2", "lbl=wet"),
		got("conditional retrieve, not fulfilled", "{ae}/d/bath", "fu=2", "lbl=dry"),
		got("conditional retrieve, children", "{ae}/d", "fu=2", "rcn=4", "ty=3", "lbl=wet"),
		got("filter usage, unknown", "{ae}/d", "fu=9").is(4000),
		found("by a stranger").as("Cguest{side}"),
		got("discovery: at an instance", "{ae}/d/kitchen/small", "fu=1"),
	}
}

// oneOf is success for the result contents that an operation has (TS-0004, 7.3.2.1), and 4000 for any other.
func oneOf(rcn string, success int, allowed ...string) int {
	if slices.Contains(allowed, rcn) {
		return success
	}
	return 4000
}

func resultContentRows() []row {
	var rows []row
	for _, rcn := range []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "x"} {
		rows = append(rows,
			got("retrieve rcn "+rcn, "{ae}/d", "rcn="+rcn).is(oneOf(rcn, 2000, "1", "4", "5", "6", "8", "12")),
			made("create rcn "+rcn, cnt, "{ae}/d",
				`{"m2m:cnt":{"rn":"rcn`+rcn+`","lbl":["made"]}}`, "rcn="+rcn).is(oneOf(rcn, 2001, "0", "1", "2", "3", "9")),
			changed("update rcn "+rcn, "{ae}/d/bath",
				`{"m2m:cnt":{"mni":1`+map[bool]string{true: rcn}[rcn != "x"]+`}}`, "rcn="+rcn).is(oneOf(rcn, 2004, "0", "1", "9")),
		)
	}
	for _, rcn := range []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"} {
		rows = append(rows,
			made("for delete rcn "+rcn, cnt, "{ae}/d", `{"m2m:cnt":{"rn":"del`+rcn+`"}}`),
			made("for delete rcn "+rcn+", child", cin, "{ae}/d/del"+rcn, `{"m2m:cin":{"rn":"i","con":"x"}}`),
			removed("delete rcn "+rcn, "{ae}/d/del"+rcn, "rcn="+rcn).is(oneOf(rcn, 2002, "0", "1", "4", "5", "6", "8")),
		)
	}
	return append(rows,
		got("retrieve rcn 4, levels and types", "{ae}/d", "rcn=4", "lvl=2", "ty=3"),
		got("retrieve rcn 5, limited", "{ae}/d", "rcn=5", "lim=3"),
		got("retrieve rcn 6, offset", "{ae}/d", "rcn=6", "ofst=2", "lim=2"),
		got("retrieve rcn 8, labels", "{ae}/d", "rcn=8", "lbl=wet"),
	)
}

func partialRows() []row {
	return []row{
		got("atrl, one", "{ae}/d/kitchen", "atrl=lbl"),
		got("atrl, joined", "{ae}/d/kitchen", "atrl=lbl+mni+ri"),
		got("atrl, unknown", "{ae}/d/kitchen", "atrl=colour").is(4000),
		got("atrl with rcn", "{ae}/d/kitchen", "atrl=lbl", "rcn=1"),
		got("atrl with drt", "{ae}/d/kitchen", "atrl=pi", "drt=1"),
		got("drt on a retrieve, structured", "{ae}/d/kitchen", "drt=1"),
		got("drt on a retrieve, unstructured", "{ae}/d", "rcn=6", "drt=2"),
	}
}
