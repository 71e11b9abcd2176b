/// First in, first out, with places counted from the front. Removing at the front costs nothing per element: the room
/// is given back once half of the storage is empty.
struct Queue<Element: Sendable>: Sendable {
    private var storage: [Element?] = []
    private var head = 0

    var count: Int { storage.count - head }
    var isEmpty: Bool { count == 0 }

    mutating func append(_ element: Element) { storage.append(element) }

    mutating func prepend(contentsOf elements: [Element]) {
        storage.replaceSubrange(0..<head, with: elements.map(Optional.some))
        head = 0
    }

    mutating func popFirst() -> Element? {
        guard head < storage.count else { return nil }
        let first = storage[head]
        storage[head] = nil
        head += 1
        if head >= 32, head * 2 >= storage.count {
            storage.removeFirst(head)
            head = 0
        }
        return first
    }

    mutating func removeLast() { storage.removeLast() }

    mutating func removeAll() {
        storage.removeAll()
        head = 0
    }

    /// The element at `place`, counted from the front; it must be there.
    subscript(place: Int) -> Element {
        get {
            guard let element = storage[head + place] else { fatalError("queue place \(place) is empty") }
            return element
        }
        set { storage[head + place] = newValue }
    }

    /// Everything, front first; the queue is empty afterwards.
    mutating func takeAll() -> [Element] {
        let all = storage[head...].compactMap { $0 }
        removeAll()
        return all
    }
}
