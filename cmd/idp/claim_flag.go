package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"idp"
	"idp/storage"
)

// A claim rule on the command line is NAME=KIND:ARGUMENT and options behind semicolons:
//
//	roles=groups:app-;strip;in=id_token,userinfo   groups that begin with app-, without it
//	tenant=value:acme                              always the same: JSON, or else text
//	mail=field:email;scope=email                   a claim of the person, if that scope was granted
//
// Options are read from the end, so that a JSON value may have semicolons.

// claimRules reads the rules of --claim; an empty one is none.
func claimRules(texts []string) ([]storage.ClaimRule, error) {
	var rules []storage.ClaimRule
	for _, text := range texts {
		if text == "" {
			continue
		}
		rule, problem := claimRule(text)
		if problem != "" {
			return nil, idp.ConfigError(fmt.Sprintf("The claim rule %q %s. Write it like 'roles=groups:app-;strip', 'tenant=value:acme' or 'mail=field:email;in=id_token;scope=email'.", text, problem))
		}
		rules = append(rules, rule)
	}
	return rules, nil
}

// claimRule reads one rule. A problem completes "The claim rule".
func claimRule(text string) (r storage.ClaimRule, problem string) {
	name, rest, ok := strings.Cut(text, "=")
	if !ok || name == "" {
		return r, "has no name before ="
	}
	kind, argument, strip := rest, "", false
	if i := strings.IndexAny(rest, ":;"); i >= 0 {
		kind, argument = rest[:i], strings.TrimPrefix(rest[i:], ":")
	}
	r.Claim = name
	for {
		at := strings.LastIndex(argument, ";")
		if at < 0 {
			break
		}
		option, value, _ := strings.Cut(argument[at+1:], "=")
		switch {
		case option == "strip" && value == "" && kind == "groups":
			strip = true
		case option == "in" && r.In == nil:
			r.In = strings.FieldsFunc(value, func(c rune) bool { return c == ',' || c == ' ' })
		case option == "scope" && r.Scope == "":
			r.Scope = value
		case kind != "value":
			return r, fmt.Sprintf("has the option %q, which is not known", argument[at+1:])
		default:
			at = -1
		}
		if at < 0 {
			break
		}
		argument = argument[:at]
	}
	if r.In == nil {
		r.In = []string{"id_token", "userinfo"}
	}
	slices.Sort(r.In)
	switch {
	case kind == "groups":
		r.Groups = &storage.GroupsClaim{Prefix: argument, Strip: strip}
	case argument == "":
		return r, fmt.Sprintf("says nothing behind %q", kind)
	case kind == "field":
		r.Field = argument
	case kind == "value" && json.Valid([]byte(argument)):
		r.Value = json.RawMessage(argument)
	case kind == "value":
		r.Value, _ = json.Marshal(argument) // text always encodes
	default:
		return r, fmt.Sprintf("has the kind %q; use value, field or groups", kind)
	}
	return r, ""
}

// writeClaimRule is the reverse of claimRule.
func writeClaimRule(r storage.ClaimRule) string {
	text := r.Claim + "="
	switch {
	case r.Groups != nil:
		text += "groups:" + r.Groups.Prefix
		if r.Groups.Strip {
			text += ";strip"
		}
	case r.Field != "":
		text += "field:" + r.Field
	default:
		text += "value:" + string(r.Value)
	}
	text += ";in=" + strings.Join(r.In, ",")
	if r.Scope != "" {
		text += ";scope=" + r.Scope
	}
	return text
}
