package integration

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// attackCases is how many there are.
const attackCases = 104

// elsewhere are the cases that have tests of their own: races need many requests at the same moment,
// and calls that the provider makes need somebody who answers badly.
var elsewhere = map[string][]string{
	"A-034": {"TestParallelRedemptionsHaveOneWinnerAndParallelRefreshesOneSuccessor"},
	"A-041": {"TestParallelRedemptionsHaveOneWinnerAndParallelRefreshesOneSuccessor"},
	"A-045": {"TestAnAssertionIsAcceptedOnce"},
	"A-059": {"TestOneOfManyPollsGetsTheTokens", "TestPollingTellsWhatBecameOfTheRequest"},
	"A-074": {"TestWhatAClientCannotRegisterIsRefusedInRFC7591sWords"},
	"A-075": {"TestAddressesOfAClientAreNeverCalledWhereTheyMayNotBe"},
	"A-076": {"TestWhatAClientCannotRegisterIsRefusedInRFC7591sWords"},
	"A-077": {"TestAClientManagesItsRegistrationAndNobodyElses"},
	"A-079": {"TestARedirectIsNotFollowed", "TestEndlessSlowAndPackedAnswersAreCut"},
}

// notYet are the cases whose endpoints are not there. Whoever adds the endpoint takes its cases out
// of here, and tests them.
var notYet = map[string]string{
	"A-051": "DPoP", "A-052": "DPoP",
	"A-072": "upstream providers", "A-073": "upstream providers",
	"A-078": "client id metadata documents",
	"A-080": "a page to change one's profile",
	"A-081": "the admin API", "A-082": "the admin API", "A-083": "the admin API", "A-084": "the admin API",
	"A-089": "TOTP", "A-090": "TOTP", "A-091": "recovery codes", "A-092": "passkeys", "A-093": "passkeys",
	"A-094": "recovery by mail", "A-095": "recovery by mail", "A-102": "mail", "A-104": "mail",
}

func TestEveryAttackCaseIsTestedOrListed(t *testing.T) {
	t.Parallel()
	tests, names := readTests(t)
	tested := map[string]bool{}
	id := regexp.MustCompile(`^A-\d{3} `)
	for _, text := range names {
		if id.MatchString(text) {
			tested[text[:5]] = true
		}
	}
	for n := range attackCases {
		id := fmt.Sprintf("A-%03d", n+1)
		_, later := notYet[id]
		for _, name := range elsewhere[id] {
			if !slices.Contains(tests, name) {
				t.Errorf("%s: there is no test %s", id, name)
			}
			tested[id] = true
		}
		switch {
		case later && tested[id]:
			t.Errorf("%s is tested: take it out of notYet", id)
		case !later && !tested[id]:
			t.Errorf("%s is neither tested nor in notYet", id)
		}
		delete(tested, id)
	}
	for id := range tested {
		t.Errorf("%s is not in the list of cases", id)
	}
	for id := range notYet {
		if id < "A-001" || id > fmt.Sprintf("A-%03d", attackCases) {
			t.Errorf("%s is not in the list of cases", id)
		}
	}
}

// readTests finds the tests of this repository, and the names under which subtests of this package
// run: the first string of each t.Run and of each row of a table.
func readTests(t *testing.T) (tests, names []string) {
	t.Helper()
	err := filepath.WalkDir("..", func(path string, d os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test") {
				tests = append(tests, f.Name.Name)
			}
		}
		if filepath.Dir(path) != ".." && filepath.Base(filepath.Dir(path)) != "integration" {
			return nil
		}
		ast.Inspect(file, func(n ast.Node) bool {
			var first ast.Expr
			switch n := n.(type) {
			case *ast.CallExpr:
				if f, ok := n.Fun.(*ast.SelectorExpr); ok && f.Sel.Name == "Run" && len(n.Args) == 2 {
					first = n.Args[0]
				}
			case *ast.CompositeLit:
				if len(n.Elts) > 0 {
					first = n.Elts[0]
				}
			}
			if sum, ok := first.(*ast.BinaryExpr); ok { // "A-042 " + what the row is called
				first = sum.X
			}
			if s, ok := first.(*ast.BasicLit); ok && s.Kind == token.STRING {
				names = append(names, strings.Trim(s.Value, "\"`"))
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return tests, names
}
