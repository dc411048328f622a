//! Locks that are looked at. A process of its own: what other tests start would have a copy of them for a moment.

use std::sync::atomic::{AtomicBool, Ordering};

use agents::os::lock::Lock;

#[test]
fn who_only_looks_keeps_nobody_from_taking_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lock");
    drop(Lock::try_take(&path).unwrap());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    Lock::is_held(&path).unwrap();
                }
            });
        }
        let refused = (0..2000).filter(|_| Lock::try_take(&path).unwrap().is_none()).count();
        let held = Lock::try_take(&path).unwrap();
        let twice = Lock::try_take(&path).unwrap();
        done.store(true, Ordering::Relaxed);
        assert_eq!((refused, held.is_some(), twice.is_some()), (0, true, false));
    });
}
