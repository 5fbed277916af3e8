//! The screen for a terminal that takes ASCII only.

use ratatui::buffer::Buffer;

/// Replaces what is not ASCII by what comes nearest.
pub(super) fn replace(buffer: &mut Buffer) {
    for cell in buffer.content.iter_mut().filter(|cell| !cell.symbol().is_ascii()) {
        let letter = cell.symbol().chars().next().map_or(' ', nearest);
        cell.set_char(letter);
    }
}

const fn nearest(letter: char) -> char {
    match letter {
        '─' | '━' | '·' | '–' => '-',
        '│' | '┃' => '|',
        '┌' | '┐' | '└' | '┘' | '├' | '┤' | '┬' | '┴' | '┼' | '╭' | '╮' | '╰' | '╯' => {
            '+'
        }
        // Curves and bars, from low to high.
        '▁' => '_',
        '▂' => '.',
        '▃' => ':',
        '▄' => '-',
        '▅' => '=',
        '▆' => '+',
        '▇' => '*',
        '█' | '■' | '▀' | '▉' | '▊' | '▋' | '▌' => '#',
        '▍' | '▎' | '▏' => '|',
        '░' | '▒' | '▓' => '.',
        '←' => '<',
        '→' => '>',
        '↑' | '▲' => '^',
        '↓' | '▼' => 'v',
        '…' => '~',
        'µ' => 'u',
        '×' => 'x',
        _ => '?',
    }
}
