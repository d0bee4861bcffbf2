/// A table that is written once, when it is built, and then read by any number of threads. Reading costs no reference count and
/// no bounds check in release builds: indices come from our own tables, never from a file.
struct FixedArray<Element: BitwiseCopyable & Sendable>: @unchecked Sendable {  // nothing writes after `init`
    private final class Memory {
        let base: UnsafeMutablePointer<Element>
        init(capacity: Int) { base = .allocate(capacity: capacity) }
        deinit { base.deallocate() }
    }
    private let memory: Memory
    let base: UnsafePointer<Element>
    let count: Int

    init(_ elements: [Element]) {
        self.init(count: elements.count) { memory in _ = memory.update(fromContentsOf: elements) }
    }

    /// - Parameter fill: Gets uninitialized memory, and initializes all of it.
    init(count: Int, fill: (UnsafeMutableBufferPointer<Element>) -> Void) {
        memory = Memory(capacity: max(count, 1))
        base = UnsafePointer(memory.base)
        self.count = count
        fill(UnsafeMutableBufferPointer(start: memory.base, count: count))
    }

    @inline(__always)
    subscript(i: Int) -> Element {
        assert(i >= 0 && i < count, "element \(i) of \(count)")
        return base[i]
    }
}

/// Memory that grows and is used again: an array with one owner, so that appending asks nobody whether it is shared.
struct GrowingBuffer<Element: BitwiseCopyable>: ~Copyable {
    private(set) var base: UnsafeMutablePointer<Element>
    private(set) var count = 0
    private(set) var capacity: Int

    init(capacity: Int = 64) {
        self.capacity = max(capacity, 1)
        base = .allocate(capacity: self.capacity)
    }

    deinit { base.deallocate() }

    @inline(__always)
    subscript(i: Int) -> Element {
        get {
            assert(i >= 0 && i < count, "element \(i) of \(count)")
            return base[i]
        }
        set {
            assert(i >= 0 && i < count, "element \(i) of \(count)")
            base[i] = newValue
        }
    }

    @inline(__always)
    mutating func append(_ element: Element) {
        if count == capacity { reserve(count + 1) }
        base[count] = element
        count += 1
    }

    @inline(__always)
    mutating func removeAll() { count = 0 }

    /// Drops all but the first `length` elements.
    @inline(__always)
    mutating func truncate(_ length: Int) {
        assert(length <= count, "\(length) of \(count)")
        count = length
    }

    /// Makes the buffer `length` long; what it held is lost, and new elements have no set value.
    mutating func resize(uninitialized length: Int) {
        count = 0
        if length > capacity { reserve(length) }
        count = length
    }

    @inline(never)
    private mutating func reserve(_ needed: Int) {
        let larger = max(needed, capacity * 2)
        let new = UnsafeMutablePointer<Element>.allocate(capacity: larger)
        new.update(from: base, count: count)
        base.deallocate()
        (base, capacity) = (new, larger)
    }

    /// A copy of the elements from `start` on.
    func array(from start: Int = 0) -> [Element] { Array(UnsafeBufferPointer(start: base + start, count: count - start)) }
}
