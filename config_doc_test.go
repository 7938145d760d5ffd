package idp

import (
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite generated files instead of comparing them")

const configBegin, configEnd = "<!-- config:begin -->\n", "<!-- config:end -->"

func TestConfigDocsAreCurrent(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok1 := strings.Cut(string(readme), configBegin)
	table, after, ok2 := strings.Cut(rest, configEnd)
	if !ok1 || !ok2 {
		t.Fatalf("README.md lacks the lines %q and %q", strings.TrimSpace(configBegin), configEnd)
	}
	if table == ConfigTable() {
		return
	}
	if !*update {
		t.Fatalf("README.md's configuration table is not what the configuration is. Rewrite it with: go test -run TestConfigDocs . -update\ngot:\n%s\nwant:\n%s", table, ConfigTable())
	}
	if err := os.WriteFile("README.md", []byte(before+configBegin+ConfigTable()+configEnd+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestEverySettingIsAFlagAVariableAndASentence(t *testing.T) {
	t.Parallel()
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Config]()) {
		if f.Anonymous {
			continue
		}
		help := f.Tag.Get("help")
		if !strings.HasPrefix(f.Tag.Get("env"), "IDP_") || !strings.HasSuffix(help, ".") || strings.Contains(help, "|") {
			t.Errorf("field %s: env %q, help %q; want a variable IDP_… and a sentence without |", f.Name, f.Tag.Get("env"), help)
		}
		// Secrets have no flag: other users of a machine see command lines.
		if secret := f.Name == "MasterKey"; secret != (f.Tag.Get("name") == "") {
			t.Errorf("field %s: flag %q", f.Name, f.Tag.Get("name"))
		}
	}
}
