package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/entropy-fabric/entropy"
)

const rulesLong = `Rules say what is done about what is surprising: nothing but counting (observe), a
suggestion that a person may accept (suggest), an action that a person approves (ask),
or an action (act). They are in a file that is given to entropy control --rules;
without one, rules are in force that only suggest. See docs/RULES.md.`

func (a *app) rulesCommand() *cobra.Command {
	c := &cobra.Command{Use: "rules", Short: "See, check and reset the rules by which surprise becomes action", Long: rulesLong, Args: argument(0, 0, "")}
	a.command(c, func(ctx context.Context, _ []string) error {
		rules, err := a.ruleService()
		if err != nil {
			return err
		}
		r, err := rules.Rules(ctx)
		if err != nil {
			return err
		}
		return a.one(r, func() error { return a.drawRules(&r) })
	})
	c.AddCommand(a.rulesCheckCommand(), a.rulesResetCommand())
	return c
}

// ruleService connects to who applies the rules.
func (a *app) ruleService() (entropy.RuleService, error) {
	service, err := a.connect()
	if err != nil {
		return nil, err
	}
	if rules, ok := service.(entropy.RuleService); ok {
		return rules, nil
	}
	return nil, entropy.Errorf(entropy.CodeNotFound, "this control plane applies no rules")
}

func (a *app) drawRules(r *entropy.RuleReport) error {
	if r.Problem != "" {
		a.notef("the file has changed and is wrong; the rules of before are in force: %s", printableLines(r.Problem))
	}
	if !r.CaughtUp {
		a.notef("the rules are still looking at the ledger")
	}
	file := r.File
	if file == "" {
		file = "the rules that come along"
	}
	storm := fmt.Sprintf("%d of %d actions within %s", r.Storm.Within, r.Storm.AtMost, span(r.Storm.Window.D()))
	if r.Storm.On {
		storm = "STORM since " + stamp(r.Storm.Since) + ": every rule only suggests; " + storm
	}
	if err := a.printf("%s, %d deviations, %s\n\n", printable(file), r.Deviations, storm); err != nil {
		return err
	}
	t := new(table)
	t.row("RULE", "MODE", "COMMAND", "MATCHED", "FIRED", "SUPPRESSED", "NOT IDLE", "WHEN")
	for _, x := range r.Rules {
		if x.Errors > 0 {
			a.notef("rule %s failed %d times, lately: %s", printable(x.Name), x.Errors, printable(x.LastError))
		}
		t.row(x.Name, string(x.Mode), dash(x.Command), count(x.Matched), count(x.Fired), causes(x.Suppressed), states(x.Entities), shorten(x.When, 60))
	}
	if err := t.write(a.stdout); err != nil {
		return err
	}
	return a.drawHarm(r)
}

// drawHarm shows what the actions were followed by, and what they were worth.
func (a *app) drawHarm(r *entropy.RuleReport) error {
	if len(r.Harm) > 0 {
		t := new(table)
		t.row("RULE", "COMMAND", "OF", "BETTER", "WORSE", "SAME", "EVIDENCE OF HARM", "")
		for _, h := range r.Harm {
			demoted := ""
			if h.Demoted {
				demoted = "asks: entropy rules reset " + h.Rule
			}
			t.row(h.Rule, h.Command, h.Kind, itoa(h.Better), itoa(h.Worse), itoa(h.Same), decimal(h.Evidence, 1), demoted)
		}
		if err := a.drawUnder("what followed the actions", t); err != nil {
			return err
		}
	}
	if len(r.Worth) == 0 {
		return nil
	}
	t := new(table)
	t.row("COMMAND", "OF", "CHANNEL", "ACTED ON", "NOT ACTED ON", "PRECISION", "RECALL")
	for _, w := range r.Worth {
		t.row(w.Command, w.Kind, w.Channel, itoa(w.Treated), itoa(w.Untreated), share(w.Precision), share(w.Recall))
	}
	return a.drawUnder("deviations that have ended", t)
}

func (a *app) drawUnder(title string, t *table) error {
	if err := a.printf("\n%s\n", title); err != nil {
		return err
	}
	return t.write(a.stdout)
}

func share(x *float64) string {
	if x == nil {
		return "-"
	}
	return decimal(*x, 2)
}

func count(n int64) string { return strconv.FormatInt(n, 10) }

// causes names why rules that matched did not fire.
func causes(m map[string]int64) string {
	var all []string
	for _, why := range slices.Sorted(maps.Keys(m)) {
		all = append(all, fmt.Sprintf("%s %d", why, m[why]))
	}
	return dash(strings.Join(all, ", "))
}

// states names where a rule stands for the entities for which it is not idle.
func states(all []entropy.RuleEntityState) string {
	if len(all) == 0 {
		return "-"
	}
	s := all[0].Entity + " " + all[0].State
	if len(all) > 1 {
		s += fmt.Sprintf(" and %d more", len(all)-1)
	}
	return s
}

func (a *app) rulesResetCommand() *cobra.Command {
	c := &cobra.Command{Use: "reset RULE", Short: "Trust a rule again whose actions made it worse", Args: argument(1, 1, "a rule's name")}
	return a.command(c, func(ctx context.Context, args []string) error {
		if err := entropy.ValidateID("rule", args[0]); err != nil {
			return err
		}
		rules, err := a.ruleService()
		if err != nil {
			return err
		}
		if err := rules.ResetRule(ctx, args[0]); err != nil {
			return err
		}
		return a.printf("%s is trusted again; what was judged before counts no more\n", args[0])
	})
}
