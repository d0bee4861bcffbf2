import Glibc

/// Writing to what nobody reads any more is an error here, not the end of the process.
enum BrokenPipe {
    /// Runs `body` with SIGPIPE blocked in this thread, and takes back one that it raised.
    static func ignored<Value>(_ body: () -> Value) -> Value {
        var (pipe, before) = (sigset_t(), sigset_t())
        sigemptyset(&pipe)
        sigaddset(&pipe, SIGPIPE)
        pthread_sigmask(SIG_BLOCK, &pipe, &before)
        defer {
            if sigismember(&before, SIGPIPE) == 0 {
                var none = timespec()
                while sigtimedwait(&pipe, nil, &none) == SIGPIPE { continue }
            }
            pthread_sigmask(SIG_SETMASK, &before, nil)
        }
        return body()
    }
}
