internal import Basics
internal import MetadataModel
internal import Wire

/// What is asked, in what order.
struct Workload {
    enum Operation: String {
        /// Puts of keys drawn at random.
        case write
        /// Gets of keys drawn at random.
        case read
        /// Puts of each key once.
        case load
    }

    let operation: Operation
    let readLevel: ReadLevel
    let keyCount: Int
    let valueSize: Int
    private var random: SplitMix64
    private var nextKey = 0

    init(operation: Operation, readLevel: ReadLevel, keyCount: Int, valueSize: Int, seed: UInt64) {
        self.operation = operation
        self.readLevel = readLevel
        self.keyCount = keyCount
        self.valueSize = valueSize
        random = SplitMix64(seed: seed)
    }

    /// Nil when every key has been written.
    mutating func takeKey() -> [UInt8]? {
        guard operation == .load else { return Self.key(Int(random.next() % UInt64(keyCount))) }
        guard nextKey < keyCount else { return nil }
        nextKey += 1
        return Self.key(nextKey - 1)
    }

    /// Bytes of chance, and others each time, so that no compression flatters the figures.
    mutating func takeValue() -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: valueSize) { buffer, count in
            let bytes = UnsafeMutableRawBufferPointer(buffer)
            var word: UInt64 = 0
            for offset in 0..<valueSize {
                if offset % 8 == 0 { word = random.next() }
                bytes[offset] = UInt8(truncatingIfNeeded: word)
                word >>= 8
            }
            count = valueSize
        }
    }

    private static let prefix = Array("load/".utf8)
    private static let digits = 10

    /// `load/` and ten digits.
    private static func key(_ number: Int) -> [UInt8] {
        var key = prefix
        key.append(contentsOf: repeatElement(UInt8(ascii: "0"), count: digits))
        var rest = number
        for position in stride(from: key.count - 1, through: prefix.count, by: -1) {
            key[position] = UInt8(ascii: "0") + UInt8(rest % 10)
            rest /= 10
        }
        return key
    }
}
