internal import Basics
internal import NIOCore

/// Values of chance, and others each time, so that no compression flatters the figures.
struct ChanceValues {
    private var random: SplitMix64
    /// One piece of memory for all of them: it is copied only while somebody holds on to the last one.
    private var value: [UInt8]

    init(size: Int, seed: UInt64) {
        random = SplitMix64(seed: seed)
        value = Array(repeating: 0, count: size)
    }

    mutating func next() -> [UInt8] {
        let wholeWords = value.count & ~7
        for offset in stride(from: 0, to: wholeWords, by: 8) { value.store(random.next(), at: offset) }
        if wholeWords < value.count {
            var word = random.next()
            for offset in wholeWords..<value.count {
                value[offset] = UInt8(truncatingIfNeeded: word)
                word >>= 8
            }
        }
        return value
    }

    /// A value that says which run wrote it, and when that was due. It must have room for it.
    mutating func next(with stamp: WriteStamp) -> [UInt8] {
        _ = next()
        value.store(stamp.run, at: 0)
        value.store(stamp.due.uptimeNanoseconds, at: 8)
        return value
    }
}

/// Begins the values of a run with watches: who sees the change knows how long it was on its way, and that it is no
/// other run's, whose clock may be another machine's.
struct WriteStamp: Equatable {
    static let size = 16
    var run: UInt64
    var due: NIODeadline

    init(run: UInt64, due: NIODeadline) {
        self.run = run
        self.due = due
    }

    /// Nil when the value is too short to have one.
    init?(of value: [UInt8]) {
        var reader = ByteReader(value.rawSpan)
        guard let run = try? reader.readUInt64(), let due = try? reader.readUInt64() else { return nil }
        self.init(run: run, due: .uptimeNanoseconds(due))
    }
}
