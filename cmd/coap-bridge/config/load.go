package config

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"coapbridge/bridge/devices"
	"coapbridge/bridge/devices/privatefile"
	"coapbridge/bridge/devices/strictyaml"
)

// Options of Load.
type Options struct {
	// Environ is the environment, as os.Environ returns it.
	Environ []string
	// Now is the time, BuiltAt the build's date. A clock that is before it is wrong, and certificates are not judged.
	Now, BuiltAt time.Time
}

// loader is one reading of a configuration.
type loader struct {
	cfg       Config
	doc       *strictyaml.Document
	overrides map[string]string // field: the environment variable that set it
	judge     bool              // whether the clock can be believed
	now       time.Time
	problems  Problems
	warnings  Problems
}

// Load reads the configuration at path, applies the environment, and checks both and every file that they name, the
// devices file and the bindings file included. Its error is Problems, or nil.
func Load(path string, o Options) (*Config, error) {
	l, problem := read(path, o)
	if problem != nil {
		return nil, Problems{*problem}
	}
	if l.doc.Parsed() {
		l.check()
		l.checkDevices()
	}
	l.collect()
	return &l.cfg, l.problems.Err()
}

// DevicesFile returns the devices file of a configuration, and the names of its CSEs, whatever else may be wrong with it:
// a device can be added where the certificates are not readable.
func DevicesFile(path string, environ []string) (file string, cses []devices.CSE, err error) {
	l, problem := read(path, Options{Environ: environ})
	if problem != nil {
		return "", nil, Problems{*problem}
	}
	l.collect()
	return l.cfg.Devices, l.cfg.DeviceCSEs(), l.problems.Err()
}

// LogKeyFile returns the path of a configuration's log key, whatever else may be wrong with it; "" when it can't be read.
func LogKeyFile(path string, environ []string) string {
	l, problem := read(path, Options{Environ: environ})
	if problem != nil {
		return ""
	}
	return l.cfg.Log.KeyFile
}

// read decodes the file, applies the environment and the defaults.
func read(path string, o Options) (*loader, *Problem) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, &Problem{File: path, Message: err.Error()}
	}
	data, err := privatefile.ReadTrusted(absolute, maxConfig)
	if err != nil {
		return nil, asProblem(absolute, err)
	}
	if !utf8.Valid(data) {
		return nil, &Problem{File: absolute, Message: "is no UTF-8 text", Remedy: "save it as UTF-8"}
	}
	l := &loader{overrides: map[string]string{}, now: o.Now, judge: !o.Now.Before(o.BuiltAt)}
	l.cfg.File = absolute
	l.doc = strictyaml.Decode(absolute, 1, data, "", &l.cfg)
	if l.doc.Parsed() && !l.doc.Has("version") {
		l.doc.Report("version", "is missing", "begin the file with: version: 1")
	} else if l.cfg.Version != 1 && len(l.doc.Problems()) == 0 {
		l.doc.Report("version", fmt.Sprintf("%d is not known to this release", l.cfg.Version), "write version: 1")
	}
	l.environment(o.Environ)
	l.defaults(o.Environ)
	return l, nil
}

func asProblem(path string, err error) *Problem {
	var e *privatefile.Error
	if errors.As(err, &e) {
		return &Problem{File: e.Path, Message: e.Message, Remedy: e.Remedy}
	}
	return &Problem{File: path, Message: err.Error()}
}

// collect puts the problems of the document before the others, each file's by line.
func (l *loader) collect() {
	l.problems = append(slices.Clone(l.doc.Problems()), l.problems...)
	l.problems.Sort()
	l.cfg.Warnings = append(slices.Clone(l.doc.Warnings()), l.warnings...)
	l.cfg.Warnings.Sort()
}

// report adds a fault of a field where the field was set: in the file, or by a variable.
func (l *loader) report(field, message, remedy string) {
	if variable, ok := l.override(field); ok {
		l.problems = append(l.problems, Problem{File: "environment", Field: variable, Message: message, Remedy: remedy})
		return
	}
	l.doc.Report(field, message, remedy)
}

func (l *loader) warn(field, message, remedy string) {
	if variable, ok := l.override(field); ok {
		l.warnings = append(l.warnings, Problem{File: "environment", Field: variable, Message: message, Remedy: remedy})
		return
	}
	l.doc.Warn(field, message, remedy)
}

func (l *loader) override(field string) (string, bool) {
	if v, ok := l.overrides[field]; ok {
		return v, true
	}
	base, _, _ := strings.Cut(field, "[") // listen[0] of COAPBRIDGE_LISTEN
	v, ok := l.overrides[base]
	return v, ok
}

func (l *loader) defaults(environ []string) {
	c := &l.cfg
	dir := filepath.Dir(c.File)
	if len(c.Listen) == 0 {
		c.Listen = []string{defaultListen}
	}
	set(&c.Devices, defaultDevices)
	absolute(dir, &c.Devices)
	set(&c.Bindings, filepath.Join(filepath.Dir(c.Devices), defaultBindings))
	set(&c.Log.KeyFile, defaultLogKey)
	if c.Admin.Listen == "" && c.Admin.Socket == "" {
		c.Admin.Socket = defaultSocket
		if run := variable(environ, "RUNTIME_DIRECTORY"); run != "" && !strings.Contains(run, ":") {
			c.Admin.Socket = filepath.Join(run, defaultSocket)
		}
	}
	if c.ShutdownGrace == 0 {
		c.ShutdownGrace = defaultGrace
	}
	absolute(dir, &c.Bindings, &c.ClientCA, &c.Certificate.Chain, &c.Certificate.Key, &c.Admin.Socket, &c.Admin.TokenFile,
		&c.Admin.Certificate.Chain, &c.Admin.Certificate.Key, &c.Downlink.Certificate.Chain, &c.Downlink.Certificate.Key, &c.Log.KeyFile)
	for i := range c.CSEs {
		cse := &c.CSEs[i]
		absolute(dir, &cse.CA, &cse.Certificate, &cse.Key, &cse.Downlink.CA)
		c.downlinkDefaults(cse)
		for name, client := range cse.Clients {
			absolute(dir, &client.Certificate, &client.Key)
			cse.Clients[name] = client
		}
		if cse.Timeout == 0 {
			cse.Timeout = defaultTimeout
		}
		if cse.MaxAnswer == 0 {
			cse.MaxAnswer = defaultAnswer
		}
	}
	if len(c.CSEs) == 1 {
		c.CSEs[0].Default = true
	}
}

func set(v *string, to string) {
	if *v == "" {
		*v = to
	}
}

// absolute makes paths absolute that are relative to the configuration's folder.
func absolute(dir string, paths ...*string) {
	for _, p := range paths {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
}

// DefaultCSE returns the CSE of devices that name none.
func (c *Config) DefaultCSE() CSE {
	for _, cse := range c.CSEs {
		if cse.Default {
			return cse
		}
	}
	return CSE{}
}

// DeviceCSEs returns what the devices file is checked against, in the file's order.
func (c *Config) DeviceCSEs() []devices.CSE {
	var out []devices.CSE
	for _, cse := range c.CSEs {
		out = append(out, devices.CSE{
			Name: cse.Name, Default: cse.Default, Clients: slices.Sorted(maps.Keys(cse.Clients)),
			PerDevice: cse.Identity == IdentityPerDevice,
		})
	}
	return out
}

// checkDevices adds the faults of the devices file and the bindings file.
func (l *loader) checkDevices() {
	problems, warnings := devices.Check(l.cfg.Devices, l.cfg.DeviceCSEs())
	l.problems, l.warnings = append(l.problems, problems...), append(l.warnings, warnings...)
	if len(problems) == 0 {
		l.checkDialled()
	}
	problems, warnings = devices.CheckBindings(l.cfg.Bindings)
	l.problems, l.warnings = append(l.problems, problems...), append(l.warnings, warnings...)
}

// checkDialled warns of devices that can't be dialled because the bridge has nothing to show them.
func (l *loader) checkDialled() {
	if !l.cfg.Certificate.IsZero() && l.cfg.ClientCA != "" {
		return
	}
	list, _, err := devices.List(l.cfg.Devices)
	if err != nil {
		return // it was changed meanwhile
	}
	n := 0
	for _, d := range list {
		if d.Address != "" && !slices.Contains(d.Credentials, "psk") {
			n++
		}
	}
	if n > 0 {
		l.warnings = append(l.warnings, Problem{
			File: l.cfg.Devices, Message: fmt.Sprintf("%d with an address can be dialled with certificates alone, and the bridge has none to show, or no CA to judge by", n),
			Remedy: "set certificate and clientCA in the configuration, or give these devices a pre-shared key",
		})
	}
}
