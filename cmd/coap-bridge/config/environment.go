package config

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// prefix begins the name of every variable of ours.
const prefix = "COAPBRIDGE_"

// Variable is an environment variable that overrides a field. It names a value or a file, never a secret: a process's
// environment is no place for one.
type Variable struct {
	Name  string
	Field string // what it overrides
}

// Variables returns the closed set of variables. The last four are there for each CSE, by its name in capitals.
func Variables() []Variable {
	var all []Variable
	for _, s := range settings() {
		all = append(all, Variable{prefix + s.name, s.field})
	}
	for _, s := range cseSettings() {
		all = append(all, Variable{prefix + "CSES_<NAME>_" + s.name, "cses[]." + s.field})
	}
	return append(all, Variable{prefix + "CONFIG", "the path of the configuration, where --config is not given"})
}

// setting sets a field of T from a variable's value; the result says what is wrong with the value, or nothing.
type setting[T any] struct {
	name, field string
	set         func(c *T, value string) string
}

func settings() []setting[Config] {
	text := func(name, field string, at func(*Config) *string) setting[Config] {
		return setting[Config]{name, field, func(c *Config, v string) string { *at(c) = v; return "" }}
	}
	list := func(name, field string, at func(*Config) *[]string) setting[Config] {
		return setting[Config]{name, field, func(c *Config, v string) string { *at(c) = strings.Split(v, ","); return "" }}
	}
	return []setting[Config]{
		list("LISTEN", "listen", func(c *Config) *[]string { return &c.Listen }),
		list("HOSTS", "hosts", func(c *Config) *[]string { return &c.Hosts }),
		text("CERTIFICATE_CHAIN", "certificate.chain", func(c *Config) *string { return &c.Certificate.Chain }),
		text("CERTIFICATE_KEY", "certificate.key", func(c *Config) *string { return &c.Certificate.Key }),
		text("CLIENT_CA", "clientCA", func(c *Config) *string { return &c.ClientCA }),
		text("DEVICES", "devices", func(c *Config) *string { return &c.Devices }),
		text("BINDINGS", "bindings", func(c *Config) *string { return &c.Bindings }),
		text("ADMIN_SOCKET", "admin.socket", func(c *Config) *string { return &c.Admin.Socket }),
		text("ADMIN_LISTEN", "admin.listen", func(c *Config) *string { return &c.Admin.Listen }),
		text("ADMIN_TOKEN_FILE", "admin.tokenFile", func(c *Config) *string { return &c.Admin.TokenFile }),
		text("LOG_LEVEL", "log.level", func(c *Config) *string { return &c.Log.Level }),
		text("LOG_FORMAT", "log.format", func(c *Config) *string { return &c.Log.Format }),
		text("LOG_KEY_FILE", "log.keyFile", func(c *Config) *string { return &c.Log.KeyFile }),
		{"SHUTDOWN_GRACE", "shutdownGrace", func(c *Config, v string) string {
			d, err := time.ParseDuration(v)
			if err != nil {
				return fmt.Sprintf("%q is no duration", v)
			}
			c.ShutdownGrace = d
			return ""
		}},
	}
}

func cseSettings() []setting[CSE] {
	text := func(name, field string, at func(*CSE) *string) setting[CSE] {
		return setting[CSE]{name, field, func(c *CSE, v string) string { *at(c) = v; return "" }}
	}
	return []setting[CSE]{
		text("URL", "url", func(c *CSE) *string { return &c.URL }),
		text("CA", "ca", func(c *CSE) *string { return &c.CA }),
		text("CERTIFICATE", "certificate", func(c *CSE) *string { return &c.Certificate }),
		text("KEY", "key", func(c *CSE) *string { return &c.Key }),
	}
}

// environment applies the variables of ours and refuses those that are none.
func (l *loader) environment(environ []string) {
	known := map[string]func(value string) string{prefix + "CONFIG": func(string) string { return "" }}
	fields := map[string]string{}
	for _, s := range settings() {
		known[prefix+s.name] = func(v string) string { return s.set(&l.cfg, v) }
		fields[prefix+s.name] = s.field
	}
	for i := range l.cfg.CSEs {
		for _, s := range cseSettings() {
			name := prefix + "CSES_" + capitals(l.cfg.CSEs[i].Name) + "_" + s.name
			known[name] = func(v string) string { return s.set(&l.cfg.CSEs[i], v) }
			fields[name] = fmt.Sprintf("cses[%d].%s", i, s.field)
		}
	}
	names := make([]string, 0, len(known))
	for name := range known {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, pair := range slices.Sorted(slices.Values(environ)) {
		name, value, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, prefix) {
			continue
		}
		apply, ok := known[name]
		switch {
		case !ok:
			l.problems = append(l.problems, Problem{
				File: "environment", Field: name, Message: "is no variable of coap-bridge", Remedy: "unset it; there are " + strings.Join(names, ", "),
			})
		case value == "":
			l.problems = append(l.problems, Problem{File: "environment", Field: name, Message: "is empty", Remedy: "unset it, or give it a value"})
		default:
			if field := fields[name]; field != "" {
				l.overrides[field] = name
			}
			if message := apply(value); message != "" {
				l.problems = append(l.problems, Problem{
					File: "environment", Field: name, Message: message, Remedy: "write a number with its unit, such as 30s",
				})
			}
		}
	}
}

// capitals turns a CSE's name into its part of a variable's name.
func capitals(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, name)
}

func variable(environ []string, name string) string {
	for _, pair := range environ {
		if n, v, _ := strings.Cut(pair, "="); n == name {
			return v
		}
	}
	return ""
}
