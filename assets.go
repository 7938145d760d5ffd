package idp

import (
	"embed"
	"io/fs"
)

// files are the pages and the well-known documents, as they lie in the repository.
//
//go:embed templates .well-known/openid-configuration .well-known/security.txt.tmpl
var files embed.FS

// templates is the folder templates, as web.NewPages reads it.
func templates() (fs.FS, error) { return fs.Sub(files, "templates") }

// Metadata is the discovery document with its endpoints relative to the issuer.
func Metadata() ([]byte, error) { return files.ReadFile(".well-known/openid-configuration") }
