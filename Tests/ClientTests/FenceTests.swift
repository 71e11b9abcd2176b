import Client
import Testing

@Suite struct FenceTests {
    @Test("a fence is written as it is read, and nothing else is one")
    func text() {
        #expect(Fence("election:masters=17") == .election("masters", 17))
        #expect(Fence("lock:a=b:c=1") == .lock("a=b:c", 1))
        for text in ["election:masters=17", "lock:a=b:c=1"] { #expect(Fence(text)?.description == text) }
        let wrong = [
            "", "masters=17", "election:masters", "election:=1", "election:masters=", "election:masters=0",
            "election:masters=-1", "election:masters=1x", "Election:masters=1", "session:x=1", "=:1",
        ]
        for text in wrong { #expect(Fence(text) == nil, "\(text)") }
    }
}
