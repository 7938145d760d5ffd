package oauth

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"idp/storage"
)

// The claims parameter (OpenID Connect Core, 5.5) asks for single claims, for userinfo or for the
// ID token. A claim is told only if the client is registered for the scope that it belongs to, and
// the person is asked as if for that scope. What cannot be told is left out: none of it is an error.

// claimsRequest is what a claims parameter asks for, as far as the client may have it.
type claimsRequest struct {
	single       singleClaims
	scopes       []string // that its claims belong to
	subjects     []string // only they may answer (5.5.1); nil means anybody
	acr          []string // levels of sign-in asked for, the best first
	acrEssential bool     // without one of them the request fails
}

// singleClaims are claims that were asked for one by one, with the values that are accepted; none
// means any value. A grant keeps them in this form.
type singleClaims struct {
	UserInfo map[string][]any `json:"userinfo,omitempty"`
	IDToken  map[string][]any `json:"id_token,omitempty"`
}

func (s singleClaims) empty() bool { return len(s.UserInfo) == 0 && len(s.IDToken) == 0 }

// stored is the form of a grant's row; nil for none.
func (s singleClaims) stored() json.RawMessage {
	if s.empty() {
		return nil
	}
	return mustJSON(s)
}

func readSingleClaims(stored json.RawMessage) singleClaims {
	var s singleClaims
	if len(stored) > 0 && json.Unmarshal(stored, &s) != nil {
		return singleClaims{} // not a row of ours: nothing is told by it
	}
	return s
}

// maxClaimsDepth bounds what a claims parameter may nest: a member, a claim, its values, and one
// more for values that are objects.
const maxClaimsDepth = 5

// checkClaims reads the claims parameter. It comes after checkScope: without openid the parameter
// means nothing.
func checkClaims(a *authorization) error {
	a.claims = claimsRequest{} // a request may be judged twice
	text := a.params.Get("claims")
	if text == "" {
		return nil
	}
	c, problem := parseClaims(text)
	if problem != "" {
		return refuse(0, "invalid_request", "The claims parameter "+problem+".", nil)
	}
	if slices.Contains(a.scopes, "openid") {
		a.claims = c.allowed(a.client.Scopes)
	}
	return nil
}

// parseClaims takes a claims parameter apart. A problem completes "The claims parameter".
func parseClaims(text string) (c claimsRequest, problem string) {
	var top map[string]any
	if err := decodeStrict([]byte(text), &top); err != nil || top == nil {
		return c, "is not a JSON object"
	}
	if depth(top) > maxClaimsDepth {
		return c, "is nested too deeply"
	}
	if strings.Contains(string(mustJSON(top)), `\u0000`) {
		return c, "has a character that no claim has" // nor can a row keep it
	}
	for _, m := range []struct {
		name string
		into *map[string][]any
	}{{"userinfo", &c.single.UserInfo}, {"id_token", &c.single.IDToken}} {
		claims, ok := object(top[m.name])
		if !ok {
			return c, "has a member " + m.name + " that is not an object"
		}
		*m.into = map[string][]any{}
		for name, asked := range claims {
			values, essential, ok := claimRequest(asked)
			if !ok {
				return c, "asks for a claim in a wrong form: use null, or an object with essential, value or values"
			}
			switch {
			case name == "sub" && values != nil:
				if !c.onlySubjects(values) {
					return c, "names a sub that is not a string"
				}
			case name == "acr" && m.name == "id_token":
				if c.acr = texts(values); len(c.acr) != len(values) {
					return c, "names an acr that is not a string"
				}
				c.acrEssential = essential && len(values) > 0
			default:
				(*m.into)[name] = values
			}
		}
	}
	return c, ""
}

// claimRequest reads one claim's request: null, or an object.
func claimRequest(asked any) (values []any, essential, ok bool) {
	o, ok := object(asked)
	if !ok {
		return nil, false, false
	}
	if e, there := o["essential"]; there {
		if essential, ok = e.(bool); !ok {
			return nil, false, false
		}
	}
	if list, there := o["values"]; there {
		if values, ok = list.([]any); !ok {
			return nil, false, false
		}
	}
	if value, there := o["value"]; there {
		values = append(values, value)
	}
	return values, essential, true
}

// onlySubjects narrows who may answer. Named in both members, it has to be the same person.
func (c *claimsRequest) onlySubjects(values []any) bool {
	named := texts(values)
	if len(named) != len(values) {
		return false
	}
	if c.subjects != nil {
		named = within(named, c.subjects)
	}
	c.subjects = noneForNil(named)
	return true
}

// answeredBy says whether the person of these facts may answer. The client names people as it knows
// them: a person whom a sector has not met yet has no name there.
func (c claimsRequest) answeredBy(client *storage.Client, f storage.Facts) bool {
	if c.subjects == nil || f.User == nil {
		return c.subjects == nil
	}
	subject := f.User.ID
	if pairwise(client) {
		subject = f.Subject
	}
	return subject != "" && slices.Contains(c.subjects, subject)
}

// allowed keeps the claims whose scope is among those that the client is registered for.
func (c claimsRequest) allowed(registered []string) claimsRequest {
	c.scopes = nil
	for _, claims := range []map[string][]any{c.single.UserInfo, c.single.IDToken} {
		maps.DeleteFunc(claims, func(name string, _ []any) bool {
			return claimScopes[name] == "" || !slices.Contains(registered, claimScopes[name])
		})
		for name := range claims {
			if !slices.Contains(c.scopes, claimScopes[name]) {
				c.scopes = append(c.scopes, claimScopes[name])
			}
		}
	}
	slices.Sort(c.scopes) // maps have no order, and the consent page must
	return c
}

// consentScopes are those that the person is asked about: the scopes themselves, and those of the
// single claims.
func (a *authorization) consentScopes() []string {
	all := slices.Clone(a.scopes)
	for _, s := range a.claims.scopes {
		if !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}

// object gives the members of a JSON object; null has none.
func object(v any) (map[string]any, bool) {
	if v == nil {
		return nil, true
	}
	o, ok := v.(map[string]any)
	return o, ok
}

func texts(values []any) []string {
	var list []string
	for _, v := range values {
		if s, ok := v.(string); ok {
			list = append(list, s)
		}
	}
	return list
}

// depth is how many objects and arrays stand within one another.
func depth(v any) int {
	deepest := 0
	switch v := v.(type) {
	case map[string]any:
		for _, member := range v {
			deepest = max(deepest, depth(member))
		}
	case []any:
		for _, member := range v {
			deepest = max(deepest, depth(member))
		}
	default:
		return 0
	}
	return deepest + 1
}
