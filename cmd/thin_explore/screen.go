package main

import (
	"context"
	"sync"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"

	"thinpool/tool/explore"
)

// show runs the model on the terminal.
func show(ctx context.Context, m explore.Model, first explore.Effects) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &screen{model: m, first: first, jobs: &jobs{cancel: map[int]context.CancelFunc{}}}
	s.jobs.start = func(job explore.Job) tea.Cmd { return s.jobs.command(ctx, job) }
	p := tea.NewProgram(s, tea.WithContext(ctx), tea.WithoutSignalHandler())
	s.jobs.send = p.Send
	_, err := p.Run()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// A screen connects a model with a terminal, and runs its jobs.
type screen struct {
	model explore.Model
	first explore.Effects
	jobs  *jobs
}

// Init implements tea.Model.
func (s *screen) Init() tea.Cmd { return s.jobs.all(s.first) }

// Update implements tea.Model.
func (s *screen) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	var e explore.Effects
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		s.model, e = s.model.Update(explore.Size{Width: msg.Width, Height: msg.Height})
	case tea.KeyPressMsg:
		s.model, e = s.model.Update(explore.Key(keyName(msg)))
	case tea.PasteMsg:
		for _, r := range msg.Content {
			if r >= ' ' { // a newline in the clipboard must not act as Enter
				var more explore.Effects
				s.model, more = s.model.Update(explore.Key(string(r)))
				e.Jobs = append(e.Jobs, more.Jobs...)
			}
		}
	case done:
		s.model, e = s.model.Update(msg.msg)
	case explore.Progress:
		s.model, e = s.model.Update(msg)
	}
	return s, s.jobs.all(e)
}

// keyName returns the model's name for a key.
func keyName(k tea.KeyPressMsg) string {
	if k.Text != "" && k.Text != " " {
		return k.Text
	}
	return k.String()
}

// looks maps styles to colors and weights. Signs on the screen carry the same information.
var looks = map[explore.Style]lipgloss.Style{
	explore.Plain:    lipgloss.NewStyle(),
	explore.Title:    lipgloss.NewStyle().Reverse(true),
	explore.Heading:  lipgloss.NewStyle().Bold(true),
	explore.Dim:      lipgloss.NewStyle().Faint(true),
	explore.Bad:      lipgloss.NewStyle().Foreground(lipgloss.Red),
	explore.Selected: lipgloss.NewStyle().Reverse(true),
	explore.Chosen:   lipgloss.NewStyle().Bold(true),
}

// View implements tea.Model.
func (s *screen) View() tea.View {
	var text []byte
	for i, line := range s.model.View() {
		if i > 0 {
			text = append(text, '\n')
		}
		for _, span := range line {
			text = append(text, looks[span.Style].Render(span.Text)...)
		}
	}
	v := tea.NewView(string(text))
	v.AltScreen = true
	return v
}

// done carries the result of a job.
type done struct{ msg explore.Msg }

// jobs are the running jobs.
type jobs struct {
	start func(explore.Job) tea.Cmd
	send  func(tea.Msg)

	mu     sync.Mutex
	cancel map[int]context.CancelFunc
}

// all starts the jobs of effects, and carries out the rest.
func (j *jobs) all(e explore.Effects) tea.Cmd {
	if e.Cancel != 0 {
		j.mu.Lock()
		if cancel := j.cancel[e.Cancel]; cancel != nil {
			cancel()
		}
		j.mu.Unlock()
	}
	if e.Quit {
		return tea.Quit
	}
	var all []tea.Cmd
	for _, job := range e.Jobs {
		all = append(all, j.start(job))
	}
	if e.Copy != "" {
		all = append(all, tea.SetClipboard(e.Copy))
	}
	return tea.Batch(all...)
}

// often is the shortest time between two reports of progress.
const often = 100 * time.Millisecond

// command runs a job.
func (j *jobs) command(ctx context.Context, job explore.Job) tea.Cmd {
	ctx, cancel := context.WithCancel(ctx)
	j.mu.Lock()
	j.cancel[job.ID] = cancel
	j.mu.Unlock()
	return func() tea.Msg {
		defer func() {
			cancel()
			j.mu.Lock()
			delete(j.cancel, job.ID)
			j.mu.Unlock()
		}()
		var mu sync.Mutex
		var last time.Time
		return done{job.Run(ctx, func(phase string, n, total uint64) {
			mu.Lock()
			defer mu.Unlock()
			if now := time.Now(); now.Sub(last) >= often {
				last = now
				j.send(explore.Progress{Job: job.ID, Phase: phase, Done: n, Total: total})
			}
		})}
	}
}
