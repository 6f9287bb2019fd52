package gate

// Observed is a verdict as an enforcement point gives it that only observes, as
// a whole, whatever the policies say: admitted, with what enforcing would have
// done as the reason. point is the point's name, with where it is said that it
// observes. A verdict that admits is returned as it is.
func Observed(v Verdict, point string) Verdict {
	would := "would have refused"
	switch v.Outcome {
	case OutcomeAdmitted:
		return v
	case OutcomeUndecided:
		would = "could not have decided"
	}
	v.Reason = "admitted, because " + point + " only observes; enforcing " + would + ": " + v.Reason
	v.Outcome, v.Code = OutcomeAdmitted, CodeObserved
	return v
}
