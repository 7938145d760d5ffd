// Package idp is an OpenID Connect provider: one process, one issuer, one PostgreSQL database.
//
// This package puts the parts together. config.go holds all settings, routes.go the whole HTTP
// surface, jobs.go what runs in the background, server.go the order in which things start and
// stop, dev.go the provider for trying things out.
package idp
