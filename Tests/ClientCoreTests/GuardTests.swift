import Basics
import ClientCore
import MetadataModel
import Testing
import Wire

@Suite struct GuardTests {
    private static let guards = [
        Guard(kind: .election, name: Array("m".utf8), fence: 7), Guard(kind: .lock, name: Array("l".utf8), fence: 8),
    ]

    @Test("guards go with every copy of a mutation, and a refusal is the mutation's answer", arguments: [true, false])
    func guardsStay(isOnce: Bool) throws {
        var harness = Harness(endpoints: ["n1:1"])
        let content = CommandContent(.put(key: [1], value: []), guards: Self.guards)
        let call = harness.submit(isOnce ? .mutateOnce(content) : .mutate(content))
        harness.accept("n1:1", leader: "n1:1")
        let first = try #require(harness.take(.mutate).first)
        #expect(first.command?.guards == Self.guards)
        harness.cut("n1:1")
        harness.wait(.milliseconds(300))
        harness.accept("n1:1", leader: "n1:1")
        let second = try #require(harness.take(.mutate).first)
        #expect(second.command == first.command)
        harness.answer(second, revision: 9, error: ReplyError(.fenced, currentFence: 12))
        guard case .failed(let failure)? = harness.outcomes[call] else {
            Issue.record("no failure")
            return
        }
        #expect(failure.error.code == .fenced)
        #expect(failure.error.currentFence == 12)
        #expect(!failure.mayHaveTakenEffect)
        harness.wait(.seconds(1))
        #expect(harness.take(.mutate).isEmpty, "it is not sent again")
    }
}
