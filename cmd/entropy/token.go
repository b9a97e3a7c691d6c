package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/entropy-fabric/entropy"
)

// tokenService is what the commands on tokens need of a client.
type tokenService interface {
	CreateToken(ctx context.Context, spec entropy.TokenSpec) (entropy.CreatedToken, error)
	Tokens(ctx context.Context) ([]entropy.TokenInfo, error)
	RevokeToken(ctx context.Context, id string) (entropy.TokenInfo, error)
	RotateToken(ctx context.Context, id string, r entropy.TokenRotation) (entropy.CreatedToken, error)
}

func (a *app) tokenService() (tokenService, error) {
	service, err := a.connect()
	if err != nil {
		return nil, err
	}
	if t, ok := service.(tokenService); ok {
		return t, nil
	}
	return nil, entropy.Errorf(entropy.CodeNotFound, "this control plane manages no tokens")
}

const tokenLong = `Make, list, rotate and revoke tokens.

A token is one line of text that says which cluster it is for, how that cluster's
control plane proves itself, and a secret. A client or a worker that has it
sends the secret to no other server. The control plane keeps only a hash of it.`

func (a *app) tokenCommand() *cobra.Command {
	return a.group(&cobra.Command{Use: "token", Short: "Let workers and people in, and shut them out", Long: tokenLong},
		a.tokenCreateCommand(), a.tokenListCommand(), a.tokenRotateCommand(), a.tokenRevokeCommand())
}

const tokenCreateLong = `Make a token and print it, and nothing else. It cannot be shown again.

A join token lets workers in, up to --uses of them: each exchanges it for a key of
its own. An admin token is for people and programs, and may do everything.

On the bus (NATS), a user's password is its token: an executor carries out the actions
of its commands, a producer asks for actions, a source reports events, and a viewer
hears the facts. docs/PROTOCOL.md has what each may say and hear.`

func (a *app) tokenCreateCommand() *cobra.Command {
	var spec entropy.TokenSpec
	var ttl time.Duration
	c := &cobra.Command{
		Use:   "create",
		Short: "Make a token and print it",
		Long:  tokenCreateLong,
		Example: `  (umask 077; entropy token create --role join --uses 1 --ttl 1h > lab-3.token)
  entropy token create --role admin --note "the CI" --ttl 2160h
  entropy token create --role executor --name mailer --command notify_supplier`,
		Args: argument(0, 0, ""),
	}
	c.Flags().StringVar((*string)(&spec.Role), "role", "", "admin, for people and programs; join, for workers; executor, producer, source or viewer, for the bus")
	c.Flags().StringVar(&spec.Name, "name", "", "the user `NAME` on the bus; an executor reports on actions.result.NAME (default: the token's id)")
	c.Flags().StringSliceVar(&spec.Commands, "command", nil, "a `COMMAND` that an executor may execute; may be repeated")
	c.Flags().StringVar(&spec.PublicKey, "public-key", "", "the public `KEY` of an nkey by which the user may come instead of by password")
	c.Flags().IntVar(&spec.Uses, "uses", 0, "how many workers may join with it (default: any number)")
	c.Flags().DurationVar(&ttl, "ttl", 0, "how long it is valid, by the control plane's clock (default: for ever)")
	c.Flags().StringVar(&spec.Note, "note", "", "what it is for, shown by entropy token ls")
	return a.command(c, func(ctx context.Context, _ []string) error {
		if spec.Role == "" {
			return usagef("--role is missing").WithHint("it is admin, for people and programs; join, for workers; executor, producer, source or viewer, for the bus")
		}
		if c.Flags().Changed("uses") && spec.Uses < 1 || c.Flags().Changed("ttl") && ttl <= 0 {
			return usagef("--uses and --ttl are more than nothing").WithHint("leave them out for any number, and for ever")
		}
		spec.TTL = entropy.Duration(ttl)
		if err := spec.Validate(); err != nil {
			return err
		}
		service, err := a.tokenService()
		if err != nil {
			return err
		}
		t, err := service.CreateToken(ctx, spec)
		if err != nil {
			return err
		}
		return a.one(t, func() error { return a.printf("%s\n", printable(t.Token)) })
	})
}

func (a *app) tokenListCommand() *cobra.Command {
	c := &cobra.Command{Use: "ls", Short: "List the tokens, without their secrets", Args: argument(0, 0, "")}
	return a.command(c, func(ctx context.Context, _ []string) error {
		service, err := a.tokenService()
		if err != nil {
			return err
		}
		tokens, err := service.Tokens(ctx)
		if err != nil {
			return err
		}
		return list(a, tokens, tokenTable)
	})
}

func tokenTable(tokens []entropy.TokenInfo) *table {
	t := new(table)
	t.row("ID", "ROLE", "NAME", "STATE", "USES", "REFUSED", "EXPIRES", "CREATED", "NOTE")
	for i := range tokens {
		k := &tokens[i]
		uses, expires := "-", "never"
		if k.Role == entropy.RoleJoin {
			uses = itoa(k.Uses)
			if k.MaxUses > 0 {
				uses += " of " + itoa(k.MaxUses)
			}
		}
		if k.ExpiresAt != nil {
			expires = k.ExpiresAt.UTC().Format(time.RFC3339)
		}
		state := string(k.State)
		if k.FormerUntil != nil {
			state += " (old secret until " + k.FormerUntil.UTC().Format(time.RFC3339) + ")"
		}
		t.row(k.ID, string(k.Role), state, uses, itoa(k.Refused), expires, k.CreatedAt.UTC().Format(time.RFC3339), dash(k.Note))
	}
	return t
}

const tokenRotateLong = `Give a token a new secret, and print it like entropy token create: it cannot be
shown again. The old secret stays good for --overlap, so that whoever uses it can
change to the new one; then calls with it are refused, and streams that it holds
open end. A token has at most two secrets that are good.

The files admin.token and worker.token of the control plane's data directory are
rewritten when they hold the old secret. A secret that somebody else has got hold
of should not overlap: make another token, and revoke this one.`

func (a *app) tokenRotateCommand() *cobra.Command {
	var overlap time.Duration
	c := &cobra.Command{
		Use:     "rotate ID",
		Short:   "Give a token a new secret; the old one stays good for a while",
		Long:    tokenRotateLong,
		Example: "  (umask 077; entropy token rotate 3f9c62d18a0b4e57 --overlap 2h > admin.token)",
		Args:    argument(1, 1, "a token's ID"),
	}
	c.Flags().DurationVar(&overlap, "overlap", entropy.DefaultOverlap, "how long the old secret stays good")
	return a.command(c, func(ctx context.Context, args []string) error {
		id, r := args[0], entropy.TokenRotation{Overlap: entropy.Duration(overlap)}
		if err := validTokenID(id); err != nil {
			return err
		}
		if overlap == 0 {
			return usagef("--overlap is 0").WithHint("to end the old secret at once, make another token and revoke this one")
		}
		if err := r.Validate(); err != nil {
			return err
		}
		service, err := a.tokenService()
		if err != nil {
			return err
		}
		t, err := service.RotateToken(ctx, id, r)
		if err != nil {
			return err
		}
		if t.FormerUntil != nil {
			a.notef("the old secret is good until %s", t.FormerUntil.UTC().Format(time.RFC3339))
		}
		return a.one(t, func() error { return a.printf("%s\n", printable(t.Token)) })
	})
}

// validTokenID refuses what is no token's ID, as the text of one.
func validTokenID(id string) error {
	if err := entropy.ValidateID("token", id); err != nil {
		return entropy.AsError(err).WithHint("name it by its ID, as entropy token ls shows it, and never by its text")
	}
	return nil
}

const tokenRevokeLong = `End a token. The next call with it is refused, and streams that it holds open end
within a second. Workers that joined with it have keys of their own and stay.`

func (a *app) tokenRevokeCommand() *cobra.Command {
	c := &cobra.Command{Use: "revoke ID", Short: "End a token", Long: tokenRevokeLong, Args: argument(1, 1, "a token's ID")}
	return a.command(c, func(ctx context.Context, args []string) error {
		if err := validTokenID(args[0]); err != nil {
			return err
		}
		service, err := a.tokenService()
		if err != nil {
			return err
		}
		t, err := service.RevokeToken(ctx, args[0])
		if err != nil {
			return err
		}
		return a.one(t, func() error { return a.printf("%s  %s\n", printable(t.ID), t.State) })
	})
}
