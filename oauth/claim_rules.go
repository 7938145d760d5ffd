package oauth

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"idp/storage"
)

// Bounds of what a client can have said in its tokens, which travel in headers.
const (
	maxClaimRules   = 32
	maxGroupRules   = 8 // each can be as long as all groups of a person
	maxClaimName    = 128
	maxClaimValue   = 1024
	maxClaimValues  = 4096 // all fixed values together
	maxAccessGroups = 50
)

// reservedClaims are ours: what they say is the token's meaning, or a proof that we vouch for. A
// rule that set one could make a token pass for another's, for another client's, or for a person
// whose address was never checked.
var reservedClaims = []string{
	"iss", "sub", "aud", "exp", "iat", "nbf", "jti", "typ", "cty", "alg", "kid", // RFC 7519, 7515
	"auth_time", "nonce", "acr", "amr", "azp", "at_hash", "c_hash", "s_hash", "sid", "sub_jwk", "_claim_names", "_claim_sources", // OpenID Connect
	"email_verified", "phone_number_verified", "updated_at",
	"client_id", "scope", "cnf", "act", "may_act", "authorization_details", "resource", // RFC 9068, 8693, 9396
	"active", "token_type", "username", "token_introspection", // RFC 7662, 9701
	"events", "toe", "txn", "sub_id", // RFC 8417, 9493
}

// checkTold checks what a client is told of people, how, and who may use it. Each problem is a
// sentence.
func checkTold(c *storage.Client) []string {
	var wrong []string
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	for what, alg := range map[string]string{"userinfo": c.UserInfoAlg, "introspection": c.IntrospectionAlg} {
		if alg != "" && !slices.Contains(signingAlgs, alg) {
			say("The %s algorithm %q is not known; use one of %s.", what, alg, strings.Join(signingAlgs, ", "))
		}
	}
	if len(c.AccessGroups) > maxAccessGroups {
		say("At most %d access groups are possible.", maxAccessGroups)
	}
	if slices.Contains(c.AccessGroups, "") {
		say("An access group has no id.")
	}
	if len(c.ClaimRules) > maxClaimRules {
		say("At most %d claim rules are possible.", maxClaimRules)
		return wrong
	}
	size, lists, taken := 0, 0, map[string]bool{}
	for _, r := range c.ClaimRules {
		size += len(r.Value)
		if r.Groups != nil {
			lists++
		}
		if problem := checkClaimRule(r); problem != "" {
			say("The rule for the claim %q %s.", r.Claim, problem)
		}
		for _, place := range r.In {
			if taken[place+" "+r.Claim] {
				say("Two rules put the claim %q into the same place (%s).", r.Claim, place)
			}
			taken[place+" "+r.Claim] = true
		}
	}
	if lists > maxGroupRules {
		say("At most %d claim rules over groups are possible.", maxGroupRules)
	}
	if size > maxClaimValues {
		say("The fixed values of all claim rules must have at most %d bytes together.", maxClaimValues)
	}
	return wrong
}

// checkClaimRule says what is wrong with a rule; the sentence begins "The rule for the claim".
func checkClaimRule(r storage.ClaimRule) string {
	sources := 0
	for _, there := range []bool{len(r.Value) > 0, r.Field != "", r.Groups != nil} {
		if there {
			sources++
		}
	}
	switch {
	case !claimName(r.Claim):
		return fmt.Sprintf("needs a name of 1 to %d printable ASCII characters without space, quote and backslash", maxClaimName)
	case slices.ContainsFunc(reservedClaims, func(name string) bool { return strings.EqualFold(name, r.Claim) }): // some readers of JSON do not tell them apart
		return "is not possible: the name is reserved for what the provider itself says"
	case sources != 1:
		return "must say what it holds in exactly one way: a fixed value, a profile field, or groups"
	case len(r.Value) > maxClaimValue:
		return fmt.Sprintf("has a value of more than %d bytes", maxClaimValue)
	case len(r.Value) > 0 && !claimValue(r.Value):
		return "has a value that is null, or not JSON"
	case r.Field != "" && (r.Field == "groups" || claimScopes[r.Field] == ""):
		return fmt.Sprintf("names the field %q, which is no standard claim of a person, such as email", r.Field)
	case r.Groups != nil && r.Groups.Strip && r.Groups.Prefix == "":
		return "strips a prefix, but names none"
	case r.Groups != nil && len(r.Groups.Prefix) > maxClaimName:
		return "has too long a prefix"
	case r.Scope != "" && !scopeToken(r.Scope):
		return "names a scope that cannot be one"
	case len(r.In) == 0:
		return "goes nowhere: put it into id_token, userinfo or access_token"
	}
	for _, place := range r.In {
		if !slices.Contains([]string{inIDToken, inUserInfo, inAccessToken}, place) {
			return fmt.Sprintf("goes into %q; use id_token, userinfo or access_token", place)
		}
	}
	return ""
}

// claimValue says whether a fixed value can be kept: null is none, and PostgreSQL takes neither NUL
// nor numbers without bounds.
func claimValue(b json.RawMessage) bool {
	var v any
	return json.Unmarshal(b, &v) == nil && v != nil && !strings.Contains(string(mustJSON(v)), `\u0000`)
}

func claimName(s string) bool {
	if s == "" || len(s) > maxClaimName {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c < 0x21 || c > 0x7e || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}
