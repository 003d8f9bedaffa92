//! The screen: the lines with a little colour, drawn anew each second until a key ends it.

use std::io;
use std::time::Duration;

use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Text};
use ratatui::widgets::Paragraph;

use super::figures::Figures;
use super::text;

/// The time between two questions.
const PAUSE: Duration = Duration::from_secs(1);

/// Shows what `ask` returns, again and again, until q, Esc or Ctrl-C is pressed.
pub(super) fn show(mut ask: impl FnMut() -> Result<Figures, String>) -> io::Result<()> {
    let mut terminal = ratatui::try_init()?;
    let shown = (|| {
        loop {
            let lines = view(&ask());
            terminal.draw(|frame| draw(frame, &lines))?;
            loop {
                // A key that means nothing is no reason to ask more often.
                if !event::poll(PAUSE)? {
                    break;
                }
                match event::read()? {
                    event if is_end(&event) => return Ok(()),
                    Event::Resize(..) => {
                        terminal.draw(|frame| draw(frame, &lines))?;
                    }
                    _ => {}
                }
            }
        }
    })();
    ratatui::try_restore()?;
    shown
}

fn is_end(event: &Event) -> bool {
    let Event::Key(key) = event else {
        return false;
    };
    let is_interrupt =
        key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    let is_quit = matches!(key.code, KeyCode::Char('q') | KeyCode::Esc);
    key.kind == KeyEventKind::Press && (is_interrupt || is_quit)
}

/// Returns the styled lines of the figures, or of the reason why there are none.
fn view(figures: &Result<Figures, String>) -> Text<'static> {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let red = Style::new().fg(Color::Red);
    let figures = match figures {
        Ok(figures) => figures,
        Err(error) => {
            let plain = error.chars().filter(|c| !c.is_control()).collect::<String>();
            let line = Line::styled(format!("the server is away: {plain}"), red);
            return Text::from(vec![line, Line::raw("asked again each second; q ends this")]);
        }
    };
    let problems = text::problems(&figures.stats).len();
    let has_problems = !figures.stats.problems.is_empty();
    let lines = text::lines(figures).into_iter().enumerate().map(|(at, line)| {
        let style = match at {
            0 => bold,
            _ if at <= problems && has_problems => red,
            _ if at <= problems => Style::new().fg(Color::Green),
            _ if line.starts_with("DEVICE") => bold,
            _ if line.contains("! ") => Style::new().fg(Color::Yellow),
            _ => Style::new(),
        };
        Line::styled(line, style)
    });
    lines.collect::<Vec<_>>().into()
}

fn draw(frame: &mut Frame<'_>, text: &Text<'_>) {
    frame.render_widget(Paragraph::new(text.clone()), frame.area());
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::crossterm::event::KeyEvent;

    /// Returns the rows of a screen of this size.
    fn rows(figures: &Result<Figures, String>, columns: u16, rows: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
        terminal.draw(|frame| draw(frame, &view(figures))).unwrap();
        let buffer = terminal.backend().buffer();
        let row = |y| (0..columns).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        (0..rows).map(|y| row(y).trim_end().to_owned()).collect()
    }

    #[test]
    fn the_screen_has_the_lines_and_cuts_what_does_not_fit() {
        let shown = rows(&Ok(text::tests::figures()), 100, 20);
        let expected = text::lines(&text::tests::figures());
        assert_eq!(shown[..expected.len()], expected);
        let small = rows(&Ok(text::tests::figures()), 20, 3);
        assert_eq!(small[0], "corepulse 0.1.0 at v");
    }

    #[test]
    fn a_server_that_is_away_is_shown_as_such() {
        let shown = rows(&Err("GET /stats at \u{1b}[2J127.0.0.1:1: refused".to_owned()), 80, 2);
        assert_eq!(shown[0], "the server is away: GET /stats at [2J127.0.0.1:1: refused");
    }

    #[test]
    fn q_escape_and_an_interrupt_end_it() {
        let key = |code, modifiers| Event::Key(KeyEvent::new(code, modifiers));
        let none = KeyModifiers::NONE;
        assert!(is_end(&key(KeyCode::Char('q'), none)) && is_end(&key(KeyCode::Esc, none)));
        assert!(is_end(&key(KeyCode::Char('c'), KeyModifiers::CONTROL)));
        for other in [key(KeyCode::Char('c'), none), key(KeyCode::Enter, none), Event::Resize(1, 1)]
        {
            assert!(!is_end(&other), "{other:?}");
        }
    }
}
