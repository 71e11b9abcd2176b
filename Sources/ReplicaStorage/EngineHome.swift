package import StateEngine

/// Where a node keeps its engines. There is one live state, by name; a new one is built beside it and takes its place with
/// one atomic step, so that a crash leaves the old state or the new one, whole.
package protocol EngineHome: AnyObject, Sendable {
    associatedtype StateEngineType: Engine

    /// The live state; made when there is none.
    func openLive() throws(EngineError) -> StateEngineType
    /// An empty engine beside the live one, in place of whatever an earlier attempt has left.
    func makeSuccessor() throws(EngineError) -> StateEngineType
    /// What was made by `makeSuccessor` is the live state from now on, durably. The old one may still be open.
    func adoptSuccessor() throws(EngineError)
    /// What was made by `makeSuccessor` is not needed after all, and its engine is closed: removes it.
    func discardSuccessor()
    /// Removes what is not live any more. The engines concerned are closed.
    func removeOthers() throws(EngineError)
    /// Begins to make `engine` durable, so that `openStored` finds little to flush. The answer waits until that is done, on
    /// a thread that has time.
    func beginFlush(_ engine: StateEngineType) -> @Sendable () -> Void
    /// The rows of `engine`, which is the live one, as its files have them now; what is in memory only is flushed first.
    /// Where the files cannot be opened for it, they are damaged.
    func openStored(_ engine: StateEngineType) throws(EngineError) -> any StoredRows
    /// The engine forgets everything when the process ends: its state comes back from the newest snapshot and the log.
    var isVolatile: Bool { get }
}
