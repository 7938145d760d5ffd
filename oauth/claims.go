package oauth

import "idp/storage"

// scopeClaims gives the claims of a person that scopes ask for (OpenID Connect Core, 5.4). What a
// person has not is left out: never null, never "".
func scopeClaims(u *storage.User, scopes []string) map[string]any {
	claims := map[string]any{}
	p := u.Profile
	put := func(name, value string) {
		if value != "" {
			claims[name] = value
		}
	}
	for _, s := range scopes {
		switch s {
		case "profile":
			put("name", p.Name)
			put("given_name", p.GivenName)
			put("family_name", p.FamilyName)
			put("middle_name", p.MiddleName)
			put("nickname", p.Nickname)
			put("preferred_username", u.Username)
			put("profile", p.ProfileURL)
			put("picture", p.Picture)
			put("website", p.Website)
			put("gender", p.Gender)
			put("birthdate", p.Birthdate)
			put("zoneinfo", p.Zoneinfo)
			put("locale", p.Locale)
			claims["updated_at"] = u.UpdatedAt.Unix()
		case "email":
			if u.Email != "" {
				claims["email"] = u.Email
				claims["email_verified"] = u.EmailVerifiedAt != nil
			}
		case "address":
			if p.Address != nil && *p.Address != (storage.Address{}) {
				claims["address"] = p.Address
			}
		case "phone":
			if p.PhoneNumber != "" {
				claims["phone_number"] = p.PhoneNumber
				claims["phone_number_verified"] = p.PhoneNumberVerified
			}
		}
	}
	return claims
}
