package compare

// nodeRows and managementRows speak as the CSE's administrator: a node stands beside the AEs.
func nodeRows() []row {
	return []row{
		made("node create", nod, "{cse}", `{"m2m:nod":{"rn":"{side}-nod","ni":"urn:{side}"}}`).as("CAdmin"),
		got("node retrieve", "{cse}/{side}-nod").as("CAdmin"),
		changed("node update", "{cse}/{side}-nod", `{"m2m:nod":{"lbl":["rack"]}}`).as("CAdmin"),
		made("node create by an AE", nod, "{cse}", `{"m2m:nod":{"rn":"{side}-nod2","ni":"b"}}`).is(4103),
	}
}

// managementRows make, read, change and remove one of each management object (TS-0001, annex D).
func managementRows() []row {
	var rows []row
	for _, object := range []struct{ name, attributes, change string }{
		{"fwr", `"mgd":1001,"vr":"1.0","fwn":"boot","url":"https://example.org/fw","ud":false`, `"vr":"1.1"`},
		{"swr", `"mgd":1002,"vr":"1.0","swn":"app","url":"https://example.org/sw"`, `"vr":"1.1"`},
		{"mem", `"mgd":1003,"mma":1000,"mmt":4000`, `"mma":900`},
		{"ani", `"mgd":1004,"ant":"wifi","ldv":["d1","d2"]`, `"ant":"lora"`},
		{"andi", `"mgd":1005,"dvd":"d1","dvt":"sensor","awi":"w1"`, `"dvt":"actuator"`},
		{"bat", `"mgd":1006,"btl":23,"bts":5`, `"btl":99`},
		{"dvi", `"mgd":1007,"dlb":"serial:1","man":"example","mod":"m1","dty":"sensor"`, `"mod":"m2"`},
		{"dvc", `"mgd":1008,"can":"camera","att":true,"cas":{"acn":"camera","sus":1},"cus":true`, `"cus":false`},
		{"rbo", `"mgd":1009,"rbo":false,"far":false`, `"far":true`},
		{"evl", `"mgd":1010,"lgt":1,"lgd":"entry","lgst":1,"lga":false,"lgo":false`, `"lgd":"entry 2"`},
	} {
		at := "{cse}/{side}-nod/" + object.name
		root := `{"m2m:` + object.name + `":{`
		rows = append(rows,
			made(object.name+" create", mgo, "{cse}/{side}-nod", root+`"rn":"`+object.name+`",`+object.attributes+`}}`).as("CAdmin"),
			got(object.name+" retrieve", at).as("CAdmin"),
			changed(object.name+" update", at, root+object.change+`}}`).as("CAdmin"),
			removed(object.name+" delete", at).as("CAdmin"),
		)
	}
	return append(rows,
		made("management object create, unknown definition", mgo, "{cse}/{side}-nod",
			`{"m2m:bat":{"rn":"b","mgd":1999,"btl":1,"bts":1}}`).as("CAdmin").is(5000),
		made("management object create below an AE", mgo, "{ae}",
			`{"m2m:bat":{"rn":"b","mgd":1006,"btl":1,"bts":1}}`).is(4108),
		removed("node delete", "{cse}/{side}-nod").as("CAdmin"),
	)
}
