package main

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/entropy-fabric/entropy"
)

// watchEvery is how often the progress of a watched action is asked for.
const watchEvery = 2 * time.Second

const watchLong = `Follow one action until it has ended: one line for each event, and for what its
executor says of its progress. Exit code 0 when it succeeded, 7 when it failed or
was canceled.`

func (a *app) actionsWatchCommand() *cobra.Command {
	c := &cobra.Command{Use: "watch ID", Short: "Follow one action until it has ended", Long: watchLong, Args: argument(1, 1, "an action's ID")}
	return a.command(c, func(ctx context.Context, args []string) error {
		id, err := actionIDOf(args[0])
		if err != nil {
			return err
		}
		service, err := a.connect()
		if err != nil {
			return err
		}
		return a.watchAction(ctx, service, id)
	})
}

func (a *app) watchAction(ctx context.Context, service entropy.Service, id entropy.ActionID) error {
	f := entropy.EventFilter{Entity: entropy.Entity(entropy.KindAction, string(id))}
	p := &patience{a: a, limit: watchPatience}
	var last time.Time // of the progress that was shown
	for {
		info, err := service.Action(ctx, id) // before its events: they tell its end
		var page entropy.EventPage
		if err == nil {
			page, err = service.Events(ctx, f)
		}
		if err != nil {
			if err := p.failed(ctx, err); err != nil {
				return err
			}
			continue
		}
		p.ok()
		for i := range page.Events {
			e := &page.Events[i]
			if err := a.one(e, func() error { return a.printf("%s  %s\n", stamp(&e.TS), eventWords(e)) }); err != nil {
				return err
			}
		}
		if w := info.Progress; w != nil && w.At.After(last) {
			last = w.At
			if a.global.output == outputText {
				if err := a.printf("%s  progress  %s\n", stamp(&w.At), printable(progressWords(w))); err != nil {
					return err
				}
			}
		}
		f.After = page.Next
		if f.Wait = watchEvery; info.State.Terminal() && len(page.Events) == 0 {
			return actionOutcome(&info)
		} else if info.State.Terminal() {
			f.Wait = 0
		}
	}
}

// eventWords is an event of an action on one line.
func eventWords(e *entropy.Event) string {
	var at struct {
		Attempt   int    `json:"attempt"`
		Executor  string `json:"executor"`
		Reason    string `json:"reason"`
		Error     string `json:"error"`
		Message   string `json:"message"`
		Principal string `json:"principal"`
	}
	_ = json.Unmarshal(e.Attrs, &at) // what is not there is not shown
	words := []string{strings.TrimPrefix(e.Type, "action.")}
	if at.Attempt > 0 {
		words = append(words, "attempt "+itoa(at.Attempt))
	}
	if who := at.Executor + at.Principal; who != "" {
		words = append(words, "by "+who)
	}
	if at.Reason != "" {
		words = append(words, at.Reason)
	}
	if why := at.Message + at.Error; why != "" {
		words = append(words, why)
	}
	return printable(strings.Join(words, "  "))
}
