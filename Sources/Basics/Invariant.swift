/// Stops the process when `condition` does not hold, in release builds too: a replica that has broken its own rules must
/// not go on. `fatalError` keeps the message in release, where `precondition` drops it.
@inlinable
package func invariant(
    _ condition: @autoclosure () -> Bool,
    _ message: @autoclosure () -> String,
    file: StaticString = #fileID,
    line: UInt = #line
) {
    guard condition() else { fatalError("invariant broken: \(message())", file: file, line: line) }
}
