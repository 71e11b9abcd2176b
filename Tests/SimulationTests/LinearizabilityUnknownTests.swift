import Simulator
import Testing

/// Histories in which several outcomes are unknown at once: what the search must not give up, and must not explain away.
@Suite("Linearizability of unknown outcomes")
struct LinearizabilityUnknownTests {
    typealias Cell = Operation.Cell
    typealias Case = LinearizabilityTests.Case

    private static func maybe(_ cells: [Cell], _ called: UInt64, if conditions: [Cell] = []) -> Operation {
        Operation(client: 0, called: called, returned: nil, conditions: conditions, writes: cells)
    }

    private static func write(_ key: Int, _ value: UInt32, _ called: UInt64, _ returned: UInt64) -> Operation {
        Operation(client: 1, called: called, returned: returned, conditionsHeld: true, writes: [Cell(key, value)])
    }

    private static func see(_ cells: [Cell], _ called: UInt64, _ returned: UInt64) -> Operation {
        Operation(client: 2, called: called, returned: returned, reads: cells)
    }

    private static let (a, b) = (0, 1)

    static let accepted: [Case] = [
        Case(
            name: "two at once, seen one after the other",
            history: [
                maybe([Cell(a, 1)], 1), maybe([Cell(a, 2)], 1), see([Cell(a, 2)], 2, 3), see([Cell(a, 1)], 4, 5),
            ]),
        Case(
            name: "of two at once only the later is ever seen",
            history: [maybe([Cell(a, 1)], 1), maybe([Cell(a, 2)], 1), see([Cell(a, 0)], 2, 3), see([Cell(a, 2)], 8, 9)]),
        Case(
            name: "a swap that only another unknown write makes possible",
            history: [
                maybe([Cell(a, 1)], 1), maybe([Cell(a, 2)], 1, if: [Cell(a, 1)]), see([Cell(a, 0)], 2, 3),
                see([Cell(a, 2)], 4, 5),
            ]),
        Case(
            name: "a transaction of two keys, seen whole, and one of them written over",
            history: [
                maybe([Cell(a, 1), Cell(b, 1)], 1), write(a, 2, 4, 5), see([Cell(a, 2), Cell(b, 1)], 6, 7),
            ]),
        Case(
            name: "a transaction that took effect between two writes of the same client",
            history: [
                maybe([Cell(a, 1), Cell(b, 1)], 1), write(a, 2, 2, 3), see([Cell(a, 2), Cell(b, 0)], 4, 5),
                see([Cell(a, 1), Cell(b, 1)], 6, 7),
            ]),
        Case(
            name: "a deletion that explains a missing row",
            history: [write(a, 1, 1, 2), maybe([Cell(a, 0)], 3), see([Cell(a, 1)], 4, 5), see([Cell(a, 0)], 6, 7)]),
        Case(
            name: "three, of which each is needed once",
            history: [
                maybe([Cell(a, 1)], 1), maybe([Cell(a, 2)], 1), maybe([Cell(a, 3)], 1), see([Cell(a, 3)], 2, 3),
                write(a, 9, 4, 5), see([Cell(a, 1)], 6, 7), see([Cell(a, 2)], 8, 9),
            ]),
    ]

    static let refused: [Case] = [
        Case(
            name: "one of two that comes, goes and comes again",
            history: [
                maybe([Cell(a, 1)], 1), maybe([Cell(a, 2)], 1), see([Cell(a, 1)], 2, 3), see([Cell(a, 2)], 4, 5),
                see([Cell(a, 1)], 6, 7),
            ]),
        Case(
            name: "a transaction of two keys of which one is seen",
            history: [maybe([Cell(a, 1), Cell(b, 1)], 1), see([Cell(a, 1), Cell(b, 0)], 2, 3)]),
        Case(
            name: "a transaction of two keys, torn between two readers",
            history: [
                maybe([Cell(a, 1), Cell(b, 1)], 1), see([Cell(b, 1)], 2, 3), see([Cell(a, 0)], 4, 5),
            ]),
        Case(
            name: "a swap whose condition never held",
            history: [maybe([Cell(a, 2)], 1, if: [Cell(a, 1)]), see([Cell(a, 2)], 2, 3)]),
        Case(
            name: "a swap made possible by a write that came after it was seen",
            history: [
                maybe([Cell(a, 2)], 1, if: [Cell(a, 1)]), see([Cell(a, 2)], 2, 3), maybe([Cell(a, 1)], 4),
            ]),
        Case(
            name: "an old row behind an acknowledged one that nobody wrote over",
            history: [
                maybe([Cell(a, 1)], 1), see([Cell(a, 1)], 2, 3), write(a, 2, 4, 5), see([Cell(a, 1)], 6, 7),
            ]),
        Case(
            name: "a deleted row that comes back",
            history: [
                write(a, 1, 1, 2), maybe([Cell(a, 0)], 3), see([Cell(a, 0)], 4, 5), see([Cell(a, 1)], 6, 7),
            ]),
    ]

    @Test("a history that has an explanation is accepted", arguments: accepted)
    func accepts(_ example: Case) {
        #expect(LinearizabilityChecker.check(example.history) == .linearizable)
    }

    @Test("a history that has none is refused", arguments: refused)
    func refuses(_ example: Case) {
        guard case .violation = LinearizabilityChecker.check(example.history) else {
            Issue.record("\(example.name) was not refused")
            return
        }
    }

    @Test("there are enough of them")
    func areMany() {
        #expect(LinearizabilityTests.accepted.count + Self.accepted.count >= 25)
        #expect(LinearizabilityTests.refused.count + Self.refused.count >= 25)
    }
}
