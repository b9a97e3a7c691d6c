package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/entropy-fabric/entropy"
)

const suggestionsLong = `List what rules suggest, or have asked for, about what is surprising, the newest first.
accept asks for the action, in your name; dismiss says that it is not wanted. A
suggestion may be accepted for a day.`

func (a *app) suggestionsCommand() *cobra.Command {
	var f entropy.SuggestionFilter
	var state string
	c := &cobra.Command{Use: "suggestions", Short: "List what rules suggest; accept or dismiss it", Long: suggestionsLong,
		Example: "  entropy suggestions --state open\n  entropy suggestions accept sug-4bb8…", Args: argument(0, 0, "")}
	s := c.Flags()
	s.StringVar(&state, "state", "", "only those in this `STATE`: open, requested, dismissed, expired or refused")
	s.StringVar(&f.Rule, "rule", "", "only those of this `RULE`")
	s.StringVar(&f.Entity, "entity", "", "only those of this entity, as `KIND:ID`")
	s.IntVar(&f.Limit, "limit", 100, "at most `N`, up to 1000")
	a.command(c, func(ctx context.Context, _ []string) error {
		f.State = entropy.SuggestionState(state)
		rules, err := a.ruleService()
		if err != nil {
			return err
		}
		all, err := rules.Suggestions(ctx, f)
		if err != nil {
			return err
		}
		return list(a, all, a.suggestionTable)
	})
	c.AddCommand(a.answerCommand("accept", "Ask for the action of a suggestion", entropy.RuleService.AcceptSuggestion),
		a.answerCommand("dismiss", "Say that a suggestion is not wanted", entropy.RuleService.DismissSuggestion))
	return c
}

func (a *app) suggestionTable(all []entropy.Suggestion) *table {
	now := a.now()
	t := new(table)
	t.row("ID", "AGE", "RULE", "MODE", "STATE", "COMMAND", "FOR", "BITS", "REASON", "BENEFIT")
	for i := range all {
		s := &all[i]
		mode := string(s.Mode)
		if s.Because != "" {
			mode += fmt.Sprintf(" (not %s: %s)", s.Wanted, s.Because)
		}
		state := string(s.State)
		if s.Outcome != "" {
			state = "action " + string(s.Outcome)
		}
		if s.Verdict != "" {
			state += ", " + s.Verdict
		}
		t.row(s.ID, age(&s.At, now), s.Rule, mode, state, s.Command, s.Target, decimal(s.Bits, 0), dash(shorten(s.Reason, 60)), dash(shorten(s.Benefit, 60)))
	}
	return t
}

func (a *app) answerCommand(verb, short string, do func(entropy.RuleService, context.Context, string) (entropy.Suggestion, error)) *cobra.Command {
	c := &cobra.Command{Use: verb + " ID…", Short: short, Args: argument(1, 100, "the ID of a suggestion")}
	return a.command(c, func(ctx context.Context, args []string) error {
		for _, id := range args {
			if err := entropy.ValidateID("suggestion", id); err != nil {
				return err
			}
		}
		rules, err := a.ruleService()
		if err != nil {
			return err
		}
		for _, id := range args {
			s, err := do(rules, ctx, id)
			if err != nil {
				return err
			}
			if err := a.one(s, func() error {
				if s.State == entropy.SuggestionRequested {
					return a.printf("%s\n", s.ActionID)
				}
				return a.printf("%s is %s\n", s.ID, s.State)
			}); err != nil {
				return err
			}
		}
		return nil
	})
}
