package slack

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/slack-go/slack"

	"github.com/auditcanary/auditcanary/shared/ticket"
)

// Looked is what Slack says of the bot and its channel.
type Looked struct {
	// Bot and Team by name.
	Bot, Team string
	// Scopes that the token has; nil: Slack did not say.
	Scopes []string
}

// Check asks, without posting anything, whether news could be posted and known again. The
// errors say what is in the way; those that will not go away by themselves wrap
// ticket.ErrRefused.
func (c *Chat) Check(ctx context.Context) (Looked, []error) {
	out, err := c.whoAmI(ctx)
	if err != nil {
		return out, []error{err}
	}
	if out.Scopes == nil {
		return out, []error{fmt.Errorf("slack: auth.test: the reply does not say which scopes the token has")}
	}
	var errs []error
	if missing := out.lacks("chat:write"); missing != nil {
		errs = append(errs, missing)
	}
	// Reading one message takes the right history scope for the channel, and that the
	// bot is in it.
	err = c.call(ctx, "conversations.history", func(ctx context.Context) error {
		page, err := c.api.GetConversationHistoryContext(ctx, &slack.GetConversationHistoryParameters{ChannelID: c.channel, Limit: 1})
		if err == nil && !page.Ok {
			err = errors.New("the reply says neither what is there nor why not")
		}
		return err
	})
	if err != nil {
		errs = append(errs, err)
	}
	if !slices.Contains(out.Scopes, "channels:read") { // then posting alone would tell
		return out, errs
	}
	err = c.call(ctx, "conversations.info", func(ctx context.Context) error {
		ch, err := c.api.GetConversationInfoContext(ctx, &slack.GetConversationInfoInput{ChannelID: c.channel})
		switch {
		case err != nil:
			return err
		case ch.IsArchived:
			return slack.SlackErrorResponse{Err: "is_archived"}
		case !ch.IsMember:
			return slack.SlackErrorResponse{Err: "not_in_channel"}
		}
		return nil
	})
	if err != nil && !slices.ContainsFunc(errs, func(e error) bool {
		return strings.Contains(e.Error(), "channel_not_found") || strings.Contains(e.Error(), "not_in_channel")
	}) {
		errs = append(errs, err)
	}
	return out, errs
}

// Check asks whether the members of groups could be asked for.
func (g *Groups) Check(ctx context.Context) (Looked, []error) {
	out, err := g.c.whoAmI(ctx)
	if err != nil {
		return out, []error{err}
	}
	if out.Scopes == nil {
		return out, []error{fmt.Errorf("slack: auth.test: the reply does not say which scopes the token has")}
	}
	if missing := out.lacks("usergroups:read"); missing != nil {
		return out, []error{missing}
	}
	return out, nil
}

func (l Looked) lacks(scope string) error {
	if slices.Contains(l.Scopes, scope) {
		return nil
	}
	return fmt.Errorf("slack: the token lacks the scope %s: add it to the app and install it anew: %w", scope, ticket.ErrRefused)
}

// scopesHeader is where Slack says which scopes a token has.
const scopesHeader = "X-Oauth-Scopes"

func (c *Chat) whoAmI(ctx context.Context) (out Looked, err error) {
	err = c.call(ctx, "auth.test", func(ctx context.Context) error {
		self, err := c.api.AuthTestContext(ctx)
		if err != nil {
			return err
		}
		out = Looked{Bot: c.said(self.User), Team: c.said(self.Team)}
		if _, told := self.Header[scopesHeader]; told {
			out.Scopes = []string{}
			for s := range strings.SplitSeq(self.Header.Get(scopesHeader), ",") {
				out.Scopes = append(out.Scopes, strings.TrimSpace(s))
			}
		}
		return nil
	})
	return out, err
}
