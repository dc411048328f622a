//! Many projects at once.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// More threads than this gain nothing: what they wait for is git and the disk.
const THREADS_MAX: usize = 16;

/// `f` of each item, on as many threads as there are processors, in the order of the items.
pub fn each<T: Sync, R: Send>(items: &[T], f: impl Fn(&T) -> R + Sync) -> Vec<R> {
    on(std::thread::available_parallelism().map_or(1, usize::from), items, f)
}

/// [`each`], where `f` waits for others more than it works.
pub fn each_waiting<T: Sync, R: Send>(items: &[T], f: impl Fn(&T) -> R + Sync) -> Vec<R> {
    on(THREADS_MAX, items, f)
}

fn on<T: Sync, R: Send>(threads: usize, items: &[T], f: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = threads.min(THREADS_MAX).min(items.len());
    if threads <= 1 {
        return items.iter().map(f).collect();
    }
    let next = AtomicUsize::new(0);
    let results: Vec<Mutex<Option<R>>> = items.iter().map(|_| Mutex::new(None)).collect();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((item, slot)) = Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|i| Some((items.get(i)?, &results[i]))) {
                    let result = f(item);
                    *slot.lock().expect("nobody panics holding it") = Some(result);
                }
            });
        }
    });
    results.into_iter().map(|slot| slot.into_inner().expect("nobody panics holding it").expect("every item had its turn")).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn results_keep_the_order_of_the_items() {
        let items: Vec<usize> = (0..1000).collect();
        assert_eq!(super::each(&items, |i| i * 2), items.iter().map(|i| i * 2).collect::<Vec<_>>());
        assert_eq!(super::each(&[] as &[usize], |i| *i), Vec::<usize>::new());
    }
}
