package rule

import _ "embed"

//go:embed standard.yaml
var standard []byte

// Standard returns the text of the rules that are in force when there is no file:
// they only suggest.
func Standard() []byte { return standard }
