package onem2m

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"strings"
	"unicode/utf8"
)

// CreatedAEID returns the AE-ID (aei) that the CSE gave to the AE it created: resp is the 2001 to a CREATE of an AE, and
// holds the AE's representation in JSON, CBOR or XML (TS-0001, 10.2.2.2). The error is an *Error with 5000 when there is
// none, as with a Result Content that leaves the representation out.
func CreatedAEID(resp *Response) (string, error) {
	if resp.Status != StatusCreated {
		return "", badAnswer(badRequest("nothing was created"))
	}
	return AEID(resp)
}

// AEID returns the AE-ID (aei) out of the representation of an AE that resp holds, as CreatedAEID does.
func AEID(resp *Response) (string, error) {
	aei := ""
	switch f := familyOf(resp.MediaType); f {
	case familyXML:
		aei = xmlAEID(resp.Content)
	case familyJSON, familyCBOR:
		tree, err := parseTree(resp.Content, f)
		if err != nil {
			return "", badAnswer(err)
		}
		aei = treeAEID(tree)
	}
	if aei == "" || !validText(aei) || len(aei) > maxOptionString || strings.ContainsAny(aei, " *?") {
		return "", badAnswer(badRequest("answer holds no AE-ID"))
	}
	return aei, nil
}

// treeAEID looks under m2m:ae, or under m2m:rce for an answer with address and attributes (rcn 3).
func treeAEID(tree any) string {
	root, _ := tree.(map[string]any)
	if outer, ok := root["m2m:rce"].(map[string]any); ok {
		root = outer
	}
	ae, _ := root["m2m:ae"].(map[string]any)
	aei, _ := ae["aei"].(string)
	return aei
}

func xmlAEID(content []byte) string {
	if len(content) > maxScan {
		return ""
	}
	decoder := xml.NewDecoder(bytes.NewReader(content))
	var names []string
	for range maxNodes {
		token, err := decoder.Token()
		if err != nil {
			return ""
		}
		switch token := token.(type) {
		case xml.Directive:
			return ""
		case xml.StartElement:
			if names = append(names, token.Name.Local); len(names) > maxDepth {
				return ""
			}
		case xml.EndElement:
			names = names[:len(names)-1]
		case xml.CharData:
			if n := len(names); n >= 2 && n <= 3 && names[n-2] == "ae" && names[n-1] == "aei" {
				return strings.TrimSpace(string(token))
			}
		}
	}
	return ""
}

// AE is what a plain device's AE is created with (TS-0001, 9.6.5).
type AE struct {
	Name            string   // rn; "" leaves it to the CSE
	AppID           string   // api
	Reachable       bool     // rr
	PointOfAccess   []string // poa
	ReleaseVersions []string // srv
	Labels          []string // lbl
}

// Container is what a plain device's container is created with (TS-0001, 9.6.6).
type Container struct {
	Name         string   // rn; "" leaves it to the CSE
	MaxInstances uint32   // mni; 0 leaves it out
	MaxBytes     uint32   // mbs; 0 leaves it out
	Labels       []string // lbl
}

// EncodeAE returns the representation of an AE in JSON.
func EncodeAE(ae AE) ([]byte, error) {
	return encode("m2m:ae", struct {
		Name            string   `json:"rn,omitempty"`
		AppID           string   `json:"api"`
		Reachable       bool     `json:"rr"`
		ReleaseVersions []string `json:"srv,omitempty"`
		PointOfAccess   []string `json:"poa,omitempty"`
		Labels          []string `json:"lbl,omitempty"`
	}{ae.Name, ae.AppID, ae.Reachable, ae.ReleaseVersions, ae.PointOfAccess, ae.Labels})
}

// EncodeContainer returns the representation of a container in JSON.
func EncodeContainer(c Container) ([]byte, error) {
	return encode("m2m:cnt", struct {
		Name         string   `json:"rn,omitempty"`
		MaxInstances uint32   `json:"mni,omitempty"`
		MaxBytes     uint32   `json:"mbs,omitempty"`
		Labels       []string `json:"lbl,omitempty"`
	}{c.Name, c.MaxInstances, c.MaxBytes, c.Labels})
}

// The encodings of contentInfo (TS-0004, 6.3.3, m2m:contentInfo).
const (
	encodingPlain        = "0"
	encodingBase64       = "1"
	encodingBase64Binary = "2"
)

const octetStream = "application/octet-stream"

// EncodeContentInstance returns the representation of a contentInstance in JSON that holds payload byte for byte. media is
// the media type of its CoAP Content-Format, "" when it came without one (see the package's documentation).
func EncodeContentInstance(payload []byte, media string) ([]byte, error) {
	if strings.ContainsAny(media, ":\"\\") || !validText(media) {
		return nil, refuse(StatusUnsupportedMediaType, "media type can't stand in contentInfo")
	}
	con, info := string(payload), ""
	switch text := isText(con); {
	case text && media != "":
		info = media + ":" + encodingPlain
	case !text:
		if media == "" {
			media = octetStream
		}
		con, info = base64.StdEncoding.EncodeToString(payload), media+":"+encodingBase64
	}
	return encode("m2m:cin", struct {
		Info    string `json:"cnf,omitempty"`
		Content string `json:"con"`
	}{info, con})
}

// isText reports whether s survives every CSE as a string: UTF-8, no control but the blanks of a text file, and no
// replacement character, which some write for what they can't decode.
func isText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return isControl(r) && r != '\t' && r != '\n' && r != '\r' || r == utf8.RuneError
	})
}

// DecodeContentInstance returns the payload that a contentInstance in JSON holds, and the media type of its Content-Format;
// "" when there is none. A con that is no string, as other applications write it, is its own JSON text. ok is false when b
// is no contentInstance or its encoding is broken.
func DecodeContentInstance(b []byte) (payload []byte, media string, ok bool) {
	if len(b) > maxScan || !utf8.Valid(b) {
		return nil, "", false
	}
	var root struct {
		Instance *struct {
			Info    string          `json:"cnf"`
			Content json.RawMessage `json:"con"`
		} `json:"m2m:cin"`
	}
	if json.Unmarshal(b, &root) != nil || root.Instance == nil || len(root.Instance.Content) == 0 {
		return nil, "", false
	}
	media, encoding := contentInfo(root.Instance.Info)
	raw := root.Instance.Content
	if raw[0] != '"' {
		if media == "" {
			media = "application/json"
		}
		return bytes.Clone(raw), media, true
	}
	var con string
	if json.Unmarshal(raw, &con) != nil {
		return nil, "", false
	}
	if encoding != encodingBase64 && encoding != encodingBase64Binary {
		return []byte(con), media, true
	}
	payload, err := base64.StdEncoding.DecodeString(con)
	return payload, media, err == nil
}

// contentInfo splits "media type:encoding" and an optional ":security", which is the application's matter.
func contentInfo(s string) (media, encoding string) {
	media, rest, _ := strings.Cut(s, ":")
	encoding, _, _ = strings.Cut(rest, ":")
	return media, encoding
}

// encode writes {"root": v} without the escapes that are for HTML.
func encode(root string, v any) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(map[string]any{root: v}); err != nil {
		return nil, refuse(StatusInternalServerError, "representation can't be written")
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}
