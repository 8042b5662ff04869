use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::details::{DetailSubject, OpenDetails};
use super::grid::RowKey;
use super::screen::{TopScreen, VIEWS};
use crate::args::top::TopView;

const FILTER_CHARACTERS: usize = 64;

/// Action after a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyEffect {
    Draw,
    Load(DetailSubject),
    Quit,
}

impl TopScreen {
    pub fn press(&mut self, key: KeyEvent) -> KeyEffect {
        if key.kind == KeyEventKind::Release {
            return KeyEffect::Draw;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return if key.code == KeyCode::Char('c') { KeyEffect::Quit } else { KeyEffect::Draw };
        }
        match key.code {
            code if self.is_filtering => self.press_in_filter(code),
            KeyCode::Char('q') if !self.has_help && self.details.is_none() => return KeyEffect::Quit,
            KeyCode::Char('q') | KeyCode::Esc => self.back(),
            KeyCode::Char('?') => self.has_help = !self.has_help,
            _ if self.has_help => {}
            code if self.details.is_some() => self.press_in_details(code),
            KeyCode::Enter => return self.open(),
            code => self.press_in_view(code),
        }
        KeyEffect::Draw
    }

    fn back(&mut self) {
        if self.has_help {
            self.has_help = false;
        } else if self.details.is_some() {
            self.details = None;
        } else {
            self.filter.clear();
            self.arrange();
        }
    }

    fn press_in_filter(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.is_filtering = false,
            KeyCode::Esc => {
                self.is_filtering = false;
                self.filter.clear();
            }
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(character) if self.filter.chars().count() < FILTER_CHARACTERS => {
                self.filter.push(character);
            }
            _ => {}
        }
        self.arrange();
    }

    fn press_in_details(&mut self, code: KeyCode) {
        let page = self.rows.max(1);
        let Some(details) = &mut self.details else { return };
        // Drawing limits the position.
        details.scrolled = match code {
            KeyCode::Down | KeyCode::Char('j') => details.scrolled + 1,
            KeyCode::Up | KeyCode::Char('k') => details.scrolled.saturating_sub(1),
            KeyCode::PageDown | KeyCode::Char(' ') => details.scrolled + page,
            KeyCode::PageUp => details.scrolled.saturating_sub(page),
            KeyCode::Home | KeyCode::Char('g') => 0,
            KeyCode::End | KeyCode::Char('G') => usize::MAX,
            _ => details.scrolled,
        };
    }

    fn press_in_view(&mut self, code: KeyCode) {
        let (at, page) = (self.place().index, self.rows.max(1));
        match code {
            KeyCode::Down | KeyCode::Char('j') => self.select(at + 1),
            KeyCode::Up | KeyCode::Char('k') => self.select(at.saturating_sub(1)),
            KeyCode::PageDown | KeyCode::Char(' ') => self.select(at + page),
            KeyCode::PageUp => self.select(at.saturating_sub(page)),
            KeyCode::Home | KeyCode::Char('g') => self.select(0),
            KeyCode::End | KeyCode::Char('G') => self.select(usize::MAX),
            KeyCode::Tab | KeyCode::Right | KeyCode::Char('l') => self.turn(1),
            KeyCode::BackTab | KeyCode::Left | KeyCode::Char('h') => self.turn(VIEWS.len() - 1),
            KeyCode::Char(digit @ '1'..='4') => self.show(VIEWS[digit as usize - '1' as usize].0),
            KeyCode::Char('/') => self.is_filtering = true,
            KeyCode::Char('s') => self.sort_by_next(),
            KeyCode::Char('r') => {
                let sort = &mut self.place().sort;
                sort.is_reversed = !sort.is_reversed;
                self.arrange();
            }
            _ => {}
        }
    }

    fn turn(&mut self, by: usize) {
        self.show(VIEWS[(self.view_index() + by) % VIEWS.len()].0);
    }

    fn show(&mut self, view: TopView) {
        self.view = view;
        self.arrange();
    }

    /// Sorts by the next column; chains are not sorted by verdicts.
    fn sort_by_next(&mut self) {
        let all = self.grid.as_ref().map_or(1, |grid| grid.columns.len());
        let columns = if self.view == TopView::Chains { all - 1 } else { all };
        let sort = &mut self.place().sort;
        (sort.column, sort.is_reversed) = ((sort.column + 1) % columns.max(1), false);
        self.arrange();
    }

    /// Opens the selected row; an owner as the list of its programs.
    fn open(&mut self) -> KeyEffect {
        let index = self.place().index;
        let key = self.grid.as_ref().and_then(|grid| grid.rows.get(index)).map(|row| row.key.clone());
        let subject = match key {
            None => return KeyEffect::Draw,
            Some(RowKey::Owner(owner)) => {
                self.filter = if owner.is_empty() { "(others)".to_owned() } else { owner };
                self.show(TopView::Programs);
                return KeyEffect::Draw;
            }
            Some(RowKey::Program(id) | RowKey::Member(_, id)) => DetailSubject::Program(id),
            Some(RowKey::Chain(hook)) => DetailSubject::Chain(hook),
            Some(RowKey::Map(id)) => DetailSubject::Map(id),
        };
        self.details = Some(OpenDetails::new(subject.clone()));
        match subject {
            DetailSubject::Map(_) => KeyEffect::Draw,
            subject => KeyEffect::Load(subject),
        }
    }
}
