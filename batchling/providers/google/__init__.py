"""Google's APIs: Gemini, its OpenAI-compatible form, and Vertex AI."""
