package onem2m

import "bytes"

// MisreadJSON reports whether a reader that takes comments out of JSON before it reads it could find other members in content
// than MapLists does. Such a reader is known to take a string that ends in a backslash of its own ("\\") to go on behind its end,
// and so to find a comment within a name or a value: "p/**/oa" is poa then. Content of other serialisations has no comments, or
// is refused with them.
func MisreadJSON(content []byte, media string) bool {
	return familyOf(media) == familyJSON && bytes.Contains(content, []byte("/*")) && bytes.Contains(content, []byte(`\\"`))
}
