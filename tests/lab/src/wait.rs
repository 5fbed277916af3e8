//! Waiting, with a limit, and with an ear for Ctrl-C.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

/// Time between two looks at a condition.
const POLL: Duration = Duration::from_millis(20);

static SHOULD_END: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// From now on Ctrl-C, SIGTERM and SIGHUP end what is waited for with an error, so that every value is dropped in order.
///
/// # Errors
/// The kernel refuses a handler.
pub fn end_in_order() -> Result<()> {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // The second one ends the process at once; the watchdog then cleans up.
        flag::register_conditional_shutdown(signal, 1, Arc::clone(&SHOULD_END))?;
        flag::register(signal, Arc::clone(&SHOULD_END))?;
    }
    Ok(())
}

/// Fails once the user wants an end.
///
/// # Errors
/// The user wants an end.
pub fn go_on() -> Result<()> {
    if SHOULD_END.load(Ordering::Relaxed) {
        bail!("interrupted");
    }
    Ok(())
}

/// Asks `look` until it gives a value.
///
/// # Errors
/// `limit` has passed (the text names `what`), the user wants an end, or `look` failed.
pub fn until<T>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let since = Instant::now();
    loop {
        if let Some(value) = look()? {
            return Ok(value);
        }
        go_on()?;
        if since.elapsed() > limit {
            bail!("{what}: not within {limit:?}");
        }
        thread::sleep(POLL);
    }
}

/// Sleeps.
///
/// # Errors
/// The user wants an end.
pub fn pause(length: Duration) -> Result<()> {
    let since = Instant::now();
    while since.elapsed() < length {
        go_on()?;
        thread::sleep(POLL.min(length.saturating_sub(since.elapsed())));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_ends() {
        let mut looks = 0;
        let third = until("a third look", Duration::from_secs(9), || {
            looks += 1;
            Ok((looks == 3).then_some("there"))
        });
        assert_eq!(third.unwrap(), "there");
        let never = until("nothing", Duration::from_millis(1), || Ok(None::<()>));
        assert!(never.unwrap_err().to_string().starts_with("nothing: not within"));
    }
}
