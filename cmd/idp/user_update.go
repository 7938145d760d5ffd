package main

import (
	"encoding/json"
	"fmt"

	"idp"
	"idp/admin"
	"idp/storage"
)

// profileFlags is what an operator may say of a person. A flag that is not given changes nothing.
type profileFlags struct {
	Profile    string  `name:"profile" placeholder:"FILE" help:"Standard claims as a JSON object, instead of all there were; - reads standard input."`
	Name       *string `name:"name" placeholder:"NAME" help:"Full name."`
	GivenName  *string `name:"given-name" placeholder:"NAME" help:"Given names."`
	FamilyName *string `name:"family-name" placeholder:"NAME" help:"Family names."`
	MiddleName *string `name:"middle-name" placeholder:"NAME" help:"Middle names."`
	Nickname   *string `name:"nickname" placeholder:"NAME" help:"Casual name."`
	ProfileURL *string `name:"profile-url" placeholder:"URL" help:"Page about the person."`
	Picture    *string `name:"picture" placeholder:"URL" help:"Picture of the person."`
	Website    *string `name:"website" placeholder:"URL" help:"The person's own site."`
	Gender     *string `name:"gender" placeholder:"TEXT" help:"Gender."`
	Birthdate  *string `name:"birthdate" placeholder:"DATE" help:"Birthday: YYYY-MM-DD, or YYYY alone."`
	Zoneinfo   *string `name:"zoneinfo" placeholder:"ZONE" help:"Time zone, such as Europe/Zurich."`
	Locale     *string `name:"locale" placeholder:"TAG" help:"Language, such as de-CH."`
	Phone      *string `name:"phone-number" placeholder:"NUMBER" help:"Telephone number, such as +41441234567; another number is not verified."`
}

// profileClaim is one claim of a profile, as flags set it and people read it.
type profileClaim struct {
	label string
	value *string
}

// profileClaims gives the claims of a profile in the order of profileFlags.values.
func profileClaims(p *storage.Profile) []profileClaim {
	return []profileClaim{
		{"Name", &p.Name}, {"Given name", &p.GivenName}, {"Family name", &p.FamilyName}, {"Middle name", &p.MiddleName}, {"Nickname", &p.Nickname},
		{"Profile", &p.ProfileURL}, {"Picture", &p.Picture}, {"Website", &p.Website}, {"Gender", &p.Gender}, {"Birthdate", &p.Birthdate},
		{"Time zone", &p.Zoneinfo}, {"Locale", &p.Locale}, {"Telephone", &p.PhoneNumber},
	}
}

func (f *profileFlags) values() []*string {
	return []*string{
		f.Name, f.GivenName, f.FamilyName, f.MiddleName, f.Nickname,
		f.ProfileURL, f.Picture, f.Website, f.Gender, f.Birthdate,
		f.Zoneinfo, f.Locale, f.Phone,
	}
}

// changes reads the file that the flags name and gives what they do to a profile.
func (f *profileFlags) changes(c *console) (func(*storage.Profile), error) {
	var whole storage.Profile
	if f.Profile != "" {
		text, err := readFile(c, f.Profile)
		if err == nil {
			err = json.Unmarshal(text, &whole)
		}
		if err != nil {
			return nil, idp.ConfigError(fmt.Sprintf("The profile cannot be read: %v. It is a JSON object of OpenID Connect claims, such as {\"given_name\": \"Ada\"}.", err))
		}
	}
	return func(p *storage.Profile) {
		if f.Profile != "" {
			*p = whole
		}
		if f.Phone != nil && *f.Phone != p.PhoneNumber {
			p.PhoneNumberVerified = false
		}
		claims := profileClaims(p)
		for i, value := range f.values() {
			if value != nil {
				*claims[i].value = *value
			}
		}
	}, nil
}

type userUpdate struct {
	who
	Username      *string `name:"username" placeholder:"NAME" help:"What the person signs in with."`
	Email         *string `name:"email" placeholder:"ADDRESS" help:"E-mail address; another one is not verified unless you say so."`
	EmailVerified *bool   `name:"email-verified" negatable:"" help:"The address is known to be the person's, or not."`
	profileFlags
}

// Help tells what no single flag can.
func (*userUpdate) Help() string {
	return `A flag that is not given changes nothing. An empty value clears: --email "". The id never changes, and the person stays signed in.`
}

func (f *userUpdate) Run(c *console, cmd *userCommand) error {
	profile, err := f.changes(c)
	if err != nil {
		return err
	}
	return with(c, cmd.Connection, false, func(db *opened) error {
		u, err := db.admin.UpdateUser(c.ctx, f.User, admin.UserChange{Username: f.Username, Email: f.Email, EmailVerified: f.EmailVerified, Profile: profile})
		if err != nil {
			return err
		}
		return printUser(c, u, "", false, nil)
	})
}
