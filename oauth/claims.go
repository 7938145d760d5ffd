package oauth

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"

	"idp/storage"
)

// What tokens say of a person is composed here, from what the grant allows and what the client is
// registered for, and nowhere else. What a person has not is left out: never null, never "".

// claimScopes are the claims that are told of people, with the scope that each belongs to (OpenID
// Connect Core, 5.4).
var claimScopes = map[string]string{
	"name": "profile", "given_name": "profile", "family_name": "profile", "middle_name": "profile", "nickname": "profile",
	"preferred_username": "profile", "profile": "profile", "picture": "profile", "website": "profile", "gender": "profile",
	"birthdate": "profile", "zoneinfo": "profile", "locale": "profile", "updated_at": "profile",
	"email": "email", "email_verified": "email",
	"address":      "address",
	"phone_number": "phone", "phone_number_verified": "phone",
	"groups": "groups",
}

// Where claims stand, as claim rules name it.
const (
	inIDToken     = "id_token"
	inUserInfo    = "userinfo"
	inAccessToken = "access_token"
)

// account is what claims are composed of.
type account struct {
	client *storage.Client
	user   *storage.User // nil for a client acting for itself
	groups []string      // claim values
	scopes []string      // granted, after all narrowing
	single singleClaims  // granted one by one
}

func accountOf(c *storage.Client, g *storage.GrantFacts, scopes []string) account {
	return account{client: c, user: g.User, groups: g.Groups, scopes: scopes, single: readSingleClaims(g.Claims)}
}

// idToken are the claims of an ID token beside its own. Those of scopes are among them only for
// clients that never ask userinfo.
func (a account) idToken() map[string]any {
	var scopes []string
	if a.client.IDTokenClaims {
		scopes = a.scopes
	}
	return a.compose(inIDToken, scopes, a.single.IDToken)
}

// userInfo are the claims of userinfo beside sub.
func (a account) userInfo() map[string]any {
	return a.compose(inUserInfo, a.scopes, a.single.UserInfo)
}

// accessToken are the claims of a JWT access token, and of an introspection answer, beside their
// own: only what the client's rules add.
func (a account) accessToken() map[string]any { return a.compose(inAccessToken, nil, nil) }

func (a account) compose(place string, scopes []string, single map[string][]any) map[string]any {
	if len(scopes) == 0 && len(single) == 0 && len(a.client.ClaimRules) == 0 {
		return nil // most ID tokens and all opaque access tokens
	}
	person := personClaims(a.user, a.groups)
	told := map[string]any{}
	for name, value := range person {
		if slices.Contains(scopes, claimScopes[name]) {
			told[name] = value
		} else if accepted, asked := single[name]; asked && slices.Contains(a.client.Scopes, claimScopes[name]) {
			if value, ok := acceptable(value, accepted); ok {
				told[name] = value
			}
		}
	}
	for _, rule := range a.client.ClaimRules {
		if !slices.Contains(rule.In, place) || rule.Scope != "" && !slices.Contains(a.scopes, rule.Scope) {
			continue
		}
		if value, ok := a.apply(rule, person); ok {
			told[rule.Claim] = value
			if rule.Field != rule.Claim { // we have checked the person's own one
				delete(told, checks[rule.Claim])
			}
		}
	}
	return told
}

// checks are the claims that say of others whether they were checked.
var checks = map[string]string{"email": "email_verified", "phone_number": "phone_number_verified"}

// apply gives the value of a claim rule, if the person has one.
func (a account) apply(rule storage.ClaimRule, person map[string]any) (any, bool) {
	switch {
	case rule.Field != "":
		value, ok := person[rule.Field]
		return value, ok
	case rule.Groups == nil:
		return rule.Value, len(rule.Value) > 0
	case a.user == nil:
		return nil, false
	}
	list := []string{}
	for _, g := range a.groups {
		rest, ok := strings.CutPrefix(g, rule.Groups.Prefix)
		if !ok {
			continue
		}
		if !rule.Groups.Strip {
			rest = g
		}
		if rest != "" {
			list = append(list, rest)
		}
	}
	return list, true
}

// acceptable says whether a claim has one of the values that were asked for. Of a list it keeps
// those that were.
func acceptable(value any, accepted []any) (any, bool) {
	if accepted == nil {
		return value, true
	}
	list, isList := value.([]string)
	if !isList {
		return value, slices.ContainsFunc(accepted, func(want any) bool { return sameJSON(value, want) })
	}
	list = slices.DeleteFunc(slices.Clone(list), func(s string) bool {
		return !slices.ContainsFunc(accepted, func(want any) bool { return want == any(s) })
	})
	return list, len(list) > 0
}

// sameJSON compares a value with one that came as JSON.
func sameJSON(value, decoded any) bool {
	var v any
	return json.Unmarshal(mustJSON(value), &v) == nil && reflect.DeepEqual(v, decoded)
}

// personClaims are all claims that a person has, with the types that they must have (OpenID Connect
// Core, 5.1). Being in no group is an empty list: it tells the app to take away what it gave for
// groups before.
func personClaims(u *storage.User, groups []string) map[string]any {
	claims := map[string]any{}
	if u == nil {
		return claims
	}
	p := u.Profile
	for name, value := range map[string]string{
		"name": p.Name, "given_name": p.GivenName, "family_name": p.FamilyName, "middle_name": p.MiddleName, "nickname": p.Nickname,
		"preferred_username": u.Username, "profile": p.ProfileURL, "picture": p.Picture, "website": p.Website, "gender": p.Gender,
		"birthdate": p.Birthdate, "zoneinfo": p.Zoneinfo, "locale": p.Locale, "email": u.Email, "phone_number": p.PhoneNumber,
	} {
		if value != "" {
			claims[name] = value
		}
	}
	claims["updated_at"] = u.UpdatedAt.Unix()
	if u.Email != "" {
		claims["email_verified"] = u.EmailVerifiedAt != nil
	}
	if p.PhoneNumber != "" {
		claims["phone_number_verified"] = p.PhoneNumberVerified
	}
	if p.Address != nil && *p.Address != (storage.Address{}) {
		claims["address"] = p.Address
	}
	claims["groups"] = noneForNil(groups)
	return claims
}

// merged is with, for tokens that are signed or sent at once: where nothing is told beside them, their
// own claims are written as they are.
func merged(told map[string]any, own any) any {
	if len(told) == 0 {
		return own
	}
	return with(told, own)
}

// with lays a token's own claims over those told of the person: a rule cannot replace them.
func with(told map[string]any, own any) map[string]any {
	var claims map[string]any
	d := json.NewDecoder(bytes.NewReader(mustJSON(own)))
	d.UseNumber() // times stay as they are written
	if err := d.Decode(&claims); err != nil {
		panic(err) // only for objects of our own types
	}
	for name, value := range told {
		if _, taken := claims[name]; !taken {
			claims[name] = value
		}
	}
	return claims
}
