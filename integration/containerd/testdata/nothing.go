// Command nothing does nothing: what a process costs by itself.
package main

func main() {}
