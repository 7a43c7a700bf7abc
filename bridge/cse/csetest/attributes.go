package csetest

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"
)

// Resource types (TS-0004, 6.3.4.2.1).
const (
	tyAE              = 2
	tyContainer       = 3
	tyContentInstance = 4
	tyCSEBase         = 5
	tyPollingChannel  = 15
	tyRequest         = 17
	tySubscription    = 23
)

// typeInfo says what a resource type is called, what may be its child, and its attributes.
type typeInfo struct {
	root     string // name of the resource in the content
	prefix   string // of generated names and resource identifiers
	children []int
	attrs    map[string]rule
}

// rule says where an attribute may stand in a request, and what form its value has.
type rule struct {
	kind      kind
	mandatory bool // in CREATE
	fixed     bool // not in UPDATE
}

type kind int

const (
	anyValue kind = iota
	text
	texts
	uint
	boolean
	stamp
	criteria // eventNotificationCriteria with net alone
)

// common returns the attributes that every type takes in CREATE and UPDATE, with further ones.
func common(more map[string]rule) map[string]rule {
	more["rn"] = rule{kind: text, fixed: true}
	more["lbl"] = rule{kind: texts}
	more["et"] = rule{kind: stamp}
	return more
}

// typeOf returns what is known of a resource type (TS-0001, 9.6; short names of TS-0004, 8.2.3); false for a type that
// this CSE doesn't have.
func typeOf(ty int) (typeInfo, bool) {
	switch ty {
	case tyCSEBase:
		return typeInfo{root: "m2m:cb", prefix: "cb", children: []int{tyAE, tyContainer, tySubscription}}, true
	case tyAE:
		return typeInfo{root: "m2m:ae", prefix: "ae", children: []int{tyContainer, tyPollingChannel, tySubscription}, attrs: common(map[string]rule{
			"api": {kind: text, mandatory: true, fixed: true}, "rr": {kind: boolean, mandatory: true}, "srv": {kind: texts},
			"apn": {kind: text}, "poa": {kind: texts}, "or": {kind: text}, "nl": {kind: text}, "csz": {kind: texts},
		})}, true
	case tyContainer:
		return typeInfo{
			root: "m2m:cnt", prefix: "cnt", children: []int{tyContainer, tyContentInstance, tySubscription},
			attrs: common(map[string]rule{
				"mni": {kind: uint}, "mbs": {kind: uint}, "mia": {kind: uint}, "li": {kind: text}, "or": {kind: text},
			}),
		}, true
	case tyContentInstance:
		return typeInfo{root: "m2m:cin", prefix: "cin", attrs: common(map[string]rule{
			"con": {mandatory: true}, "cnf": {kind: text}, "or": {kind: text},
		})}, true
	case tyPollingChannel:
		return typeInfo{root: "m2m:pch", prefix: "pch", attrs: common(map[string]rule{})}, true
	case tyRequest:
		return typeInfo{root: "m2m:req", prefix: "req"}, true
	case tySubscription:
		return typeInfo{root: "m2m:sub", prefix: "sub", attrs: common(map[string]rule{
			"nu": {kind: texts, mandatory: true}, "enc": {kind: criteria}, "nct": {kind: uint},
			"su": {kind: text, fixed: true},
		})}, true
	}
	return typeInfo{}, false
}

// checkAttributes refuses what a CREATE or UPDATE of the type may not hold. In UPDATE a null deletes an attribute
// (TS-0004, 7.3.3.8).
func (t typeInfo) checkAttributes(attrs attributes, update bool) error {
	for name, value := range attrs {
		r, has := t.attrs[name]
		switch {
		case !has:
			return refuse(badRequest, "an attribute is unknown to this CSE or read-only in "+t.root)
		case update && r.fixed:
			return refuse(badRequest, name+" can't be updated")
		case update && isNull(value) && r.mandatory:
			return refuse(badRequest, name+" can't be deleted")
		case update && isNull(value):
			continue
		}
		if err := r.kind.check(name, value); err != nil {
			return err
		}
	}
	for name, r := range t.attrs {
		if _, has := attrs[name]; r.mandatory && !update && !has {
			return refuse(badRequest, name+" is missing")
		}
	}
	return nil
}

func isNull(value json.RawMessage) bool { return bytes.Equal(value, []byte("null")) }

// check refuses a value of another form; 4102 for a subscription's criteria that this CSE doesn't have.
func (k kind) check(name string, value json.RawMessage) error {
	var err error
	switch k {
	case anyValue:
		return nil
	case text:
		var s string
		err = json.Unmarshal(value, &s)
	case texts:
		var s []string
		err = json.Unmarshal(value, &s)
	case uint:
		var n uint32
		err = json.Unmarshal(value, &n)
	case boolean:
		var b bool
		err = json.Unmarshal(value, &b)
	case stamp:
		return checkStamp(name, value)
	case criteria:
		return checkCriteria(value)
	}
	if err != nil || isNull(value) {
		return refuse(badRequest, name+" has a value of another type")
	}
	return nil
}

func checkStamp(name string, value json.RawMessage) error {
	var s string
	if err := json.Unmarshal(value, &s); err != nil {
		return refuse(badRequest, name+" is not a timestamp")
	}
	at, err := parseStamp(s)
	if err != nil {
		return refuse(badRequest, name+" is not a timestamp")
	}
	if at.Before(time.Now()) {
		return refuse(badRequest, name+" is in the past")
	}
	return nil
}

func checkCriteria(value json.RawMessage) error {
	var enc attributes
	if err := json.Unmarshal(value, &enc); err != nil {
		return refuse(badRequest, "enc is not an object")
	}
	var net []int
	for name, v := range enc {
		if name != "net" {
			return refuse(notImplemented, "enc is supported with net alone")
		}
		if err := json.Unmarshal(v, &net); err != nil {
			return refuse(badRequest, "net is not a list of numbers")
		}
	}
	for _, n := range net {
		if n < netUpdate || n > netDeleteChild {
			return refuse(notImplemented, "net is supported from 1 to 4")
		}
	}
	return nil
}

// checkName refuses a resource name that can't be a path segment, or that means something else there.
func checkName(rn string) error {
	switch {
	case rn == "" || strings.ContainsAny(rn, "/?#%") || rn == "." || rn == "..":
		return refuse(badRequest, "rn can't be a resource name")
	case rn == "la" || rn == "ol" || rn == "fopt" || rn == "pcu" || rn == "~" || rn == "_" || rn == "-":
		return refuse(badRequest, "rn is reserved") // TS-0001, table 7.2-1 and 9.6
	}
	return nil
}

// text, list and number read an attribute whose form was checked when it came in; absent ones are zero.
func (a attributes) text(name string) string {
	var s string
	if v, has := a[name]; has && json.Unmarshal(v, &s) != nil {
		return ""
	}
	return s
}

func (a attributes) list(name string) []string {
	var s []string
	if v, has := a[name]; has && json.Unmarshal(v, &s) != nil {
		return nil
	}
	return s
}

// number returns missing when the attribute is absent.
func (a attributes) number(name string, missing int) int {
	n := missing
	if v, has := a[name]; has && json.Unmarshal(v, &n) != nil {
		return missing
	}
	return n
}
