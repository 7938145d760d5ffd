package integration

import "testing"

// The plan oidcc-formpost-basic-certification-test-plan: the basic plan with response_mode=form_post.
// The form is read and not submitted, because its action is the suite's own address; that it submits
// itself in a real browser, and works without scripts, the browser tests show.

func TestOIDFFormPostBasicPlan(t *testing.T) { runPlan(t, true, basicModules) }
