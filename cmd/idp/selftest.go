package main

import (
	"errors"
	"fmt"
	"os"

	"idp"
	"idp/selftest"
)

type selftestCommand struct {
	idp.Connection
	JUnit string `name:"junit" placeholder:"FILE" help:"Write the results as JUnit XML too, for CI."`
}

func (f *selftestCommand) Run(c *console) error {
	return with(c, f.Connection, true, func(db *opened) error {
		if db.Issuer == "" {
			return idp.ConfigError("No issuer is set. Set IDP_ISSUER, or add --issuer https://id.example.com.")
		}
		report, err := selftest.Run(c.ctx, selftest.Config{Issuer: db.Issuer, Admin: db.admin})
		if report == nil {
			return err
		}
		err = errors.Join(err, c.print(report, report.Text))
		if f.JUnit != "" {
			err = errors.Join(err, writeJUnit(f.JUnit, report))
		}
		if err == nil && report.Failed > 0 {
			err = unhealthy{fmt.Errorf("%d of %d checks failed", report.Failed, len(report.Results))}
		}
		return err
	})
}

func writeJUnit(name string, report *selftest.Report) error {
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(report.JUnit(file), file.Close())
}
