package config

import "reflect"

// LimitField describes one field of Limits.
type LimitField struct{ Name, Help string }

// LimitFields returns the fields of Limits with their help, in the order of the struct.
func LimitFields() []LimitField {
	t := reflect.TypeFor[Limits]()
	fields := make([]LimitField, t.NumField())
	for i := range fields {
		fields[i] = LimitField{t.Field(i).Tag.Get("yaml"), t.Field(i).Tag.Get("help")}
	}
	return fields
}
