//! What a terminal is told around and between frames (xterm's ctlseqs).

use super::table::width;

/// Returns what opens the other screen, hides the cursor and keeps long lines from wrapping.
#[must_use]
pub fn enter() -> &'static str {
    "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[H\x1b[2J"
}

/// Returns what undoes [`enter`]: the screen is as it was before.
#[must_use]
pub fn leave() -> &'static str {
    "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"
}

/// Returns a frame over the last one, for a terminal in raw mode of the size that the frame was made
/// for. Nothing is cleared before it is written anew, so nothing flickers.
#[must_use]
pub fn draw(frame: &str, columns: usize, rows: usize) -> String {
    let mut drawn = String::from("\x1b[H");
    let mut lines = 0;
    for line in frame.lines().take(rows) {
        if lines > 0 {
            drawn.push_str("\r\n");
        }
        drawn.push_str(line);
        // After the last column the cursor is still on it: to clear from there would take it away.
        if width(line) < columns {
            drawn.push_str("\x1b[K");
        }
        lines += 1;
    }
    if lines == 0 {
        drawn.push_str("\x1b[J");
    } else if lines < rows {
        drawn.push_str("\r\n\x1b[J");
    }
    drawn
}
