package login

// scopeTexts say in a person's words what a scope gives.
var scopeTexts = map[string]string{
	"openid":         "Recognise you when you come back",
	"profile":        "See your name and picture",
	"email":          "See your email address",
	"address":        "See your postal address",
	"phone":          "See your phone number",
	"groups":         "See which groups you are in",
	"offline_access": "Keep access until you remove it, even when you’re away",
}

// ScopeText says in a person's words what a scope lets an app do. It completes "This lets the app".
func ScopeText(scope string) string {
	if text := scopeTexts[scope]; text != "" {
		return text
	}
	return "Use “" + scope + "” in your name"
}
