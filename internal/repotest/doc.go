// Package repotest keeps the repository's own rules by tests: who may import whom, which versions of modules are the lowest
// allowed, what stands where, and how the source looks. A rule is a function from text to findings; beside the test that
// applies it to the repository stands one that shows that it catches what it is for.
//
// It holds tests only. It judges the files that git knows or would take; it does not judge what the code does.
package repotest
