// Package errorsx stands in for the package of the same name in github.com/ory/x, as far as
// github.com/ory/fosite v0.49.0 uses it. See doc/decisions/0002-ory-x-shim.md.
package errorsx

import "github.com/pkg/errors"

// WithStack returns err as it is. The original attaches a stack trace to every error, which
// fosite also does for control flow on the good path; nobody of ours reads those traces.
func WithStack(err error) error { return err }

// Cause unwraps err as far as github.com/pkg/errors can.
func Cause(err error) error { return errors.Cause(err) }

// The carriers below are implemented by fosite.RFC6749Error and read by its writers.
type (
	StatusCodeCarrier interface{ StatusCode() int }
	RequestIDCarrier  interface{ RequestID() string }
	ReasonCarrier     interface{ Reason() string }
	DebugCarrier      interface{ Debug() string }
	StatusCarrier     interface{ Status() string }
	DetailsCarrier    interface{ Details() map[string]interface{} }
	IDCarrier         interface{ ID() string }
	StackTracer       interface{ StackTrace() errors.StackTrace }
)
